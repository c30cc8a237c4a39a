#compdef keepalive
# zsh completion of keepalive(1). Made by make docs, of the command.

# CONTEXT|WORD|REPEATED|VALUES|HELP: what follows the subcommand CONTEXT. A subcommand or option is its WORD; operands have
# none. Each of the VALUES is NAME@KIND; the kind wordsNUMBER is the CONTEXT of a list of words.
typeset -ga _keepalive_table=(
@TABLE@
)

# Completes after the subcommand $1.
_keepalive_at() {
    local curcontext=$curcontext state line row value spec ret=1
    local -A opt_args
    local -a fields specs words_there operand
    for row in ${(M)_keepalive_table:#$1\|*}; do
        fields=("${(@s:|:)row}")
        if [[ $fields[2] == -* ]]; then
            spec=$fields[3]$fields[2]
            [[ $fields[2] != (-h|--help|-V|--version) ]] || spec="(- *)$spec"
            # An option with one value also has the form --option=value.
            [[ $fields[2] != --* || $fields[4] != *@* || $fields[4] == *' '* ]] || spec+='='
            spec+="[${${fields[5]//\[/\\[}//\]/\\]}]"
            for value in ${=fields[4]}; do
                spec+=":${${value%@*}//:/\\:}:{_keepalive_value ${value#*@}}"
            done
            specs+=("$spec")
        elif [[ -n $fields[2] ]]; then
            words_there+=("$fields[2]:$fields[5]")
        else
            operand=("${fields[3]:-1}" "${fields[4]%@*}" "${fields[4]#*@}")
        fi
    done
    if [[ $operand[3] == command ]]; then
        # _arguments completes nothing behind the name of a command that follows -- at once.
        if [[ $words[2] == -- ]] && ((CURRENT > 3)); then
            words[2]=()
            ((CURRENT--))
        fi
        specs+=('(-)1:command: _command_names -e' '*::arguments: _normal')
    elif ((#operand)); then
        specs+=("$operand[1]:$operand[2]:{_keepalive_value $operand[3]}")
    elif ((#words_there)); then
        _arguments -C -s -S $specs '1: :->command' '*:: :->rest' && ret=0
        case $state in
        command) _describe -t commands command words_there && ret=0 ;;
        rest)
            curcontext=${curcontext%:*}-$line[1]:
            _keepalive_at "${1:+$1 }$line[1]" && ret=0
            ;;
        esac
        return ret
    fi
    _arguments -s -S $specs
}

# Completes a value of the kind $1.
_keepalive_value() {
    local expl row mount=/sys/fs/cgroup
    local -a there shown
    case $1 in
    words*)
        for row in ${(M)_keepalive_table:#$1\|*}; do
            there+=("${${(@s:|:)row}[2]}:${${(@s:|:)row}[5]}")
        done
        _describe -t values value there
        ;;
    files) _files ;;
    directories) _files -/ ;;
    processes)
        there=(/proc/<->(N:t))
        for row in $there; do
            shown+=("$row $(cat /proc/$row/comm 2>/dev/null)")
        done
        _wanted processes expl process compadd -d shown -a there
        ;;
    programs)
        there=(${(fu)"$(cat /proc/<->/comm 2>/dev/null)"})
        _wanted programs expl program compadd -a there
        ;;
    cgroups)
        [[ ! -d $mount/unified ]] || mount+=/unified
        if compset -P /; then
            _files -/ -W $mount
        else
            _files -/ -W $mount -P /
        fi
        ;;
    units)
        there=(${${(f)"$(systemctl list-unit-files --plain --no-legend 2>/dev/null)"}%% *})
        _wanted units expl unit compadd -a there
        ;;
    *) _message value ;;
    esac
}

_keepalive() {
    _keepalive_at ''
}

if [[ $funcstack[1] == _keepalive ]]; then
    _keepalive "$@"
else
    compdef _keepalive keepalive
fi
