# bash completion of keepalive(1). Made by make docs, of the command.
# shellcheck shell=bash

# CONTEXT|WORD|REPEATED|VALUES|HELP: what follows the subcommand CONTEXT. A subcommand or option is its WORD; operands have
# none. Each of the VALUES is NAME@KIND; the kind wordsNUMBER is the CONTEXT of a list of words.
_keepalive_table=(
@TABLE@
)

# Sets values to the values of word $2 in context $1, if there is such a word.
_keepalive_find() {
    local row
    for row in "${_keepalive_table[@]}"; do
        if [[ $row == "$1|$2|"* ]]; then
            IFS='|' read -r _ _ _ row _ <<<"$row"
            read -ra values <<<"$row"
            return 0
        fi
    done
    return 1
}

# Completes $cur with the words of context $1 that match the pattern $2.
_keepalive_words() {
    local row context word
    for row in "${_keepalive_table[@]}"; do
        IFS='|' read -r context word _ <<<"$row"
        # shellcheck disable=SC2053
        if [[ $context == "$1" && $word == $2 && $word == "$cur"* ]]; then
            COMPREPLY+=("$word")
        fi
    done
}

# Completes $cur with a value NAME@KIND.
_keepalive_value() {
    local prefix words=''
    case ${1#*@} in
    words*) _keepalive_words "${1#*@}" '*' ;;
    files)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    directories)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        ;;
    cgroups)
        prefix=/sys/fs/cgroup
        [[ ! -d $prefix/unified ]] || prefix+=/unified
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -d -- "$prefix/${cur#/}")
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
        ;;
    processes) words=$(cd /proc && printf '%s\n' [0-9]*) ;;
    programs) words=$(cat /proc/[0-9]*/comm 2>/dev/null | sort -u) ;;
    units) words=$(systemctl list-unit-files --plain --no-legend 2>/dev/null | sed 's/ .*//') ;;
    esac
    if [[ -n $words ]]; then
        local IFS=$'\n'
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}

# Completes the command that begins with word $1.
_keepalive_command() {
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$1"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif (($1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}

_keepalive() {
    local cur=${COMP_WORDS[COMP_CWORD]} path='' word has_ended=''
    local -a values=() operand=()
    local -i i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((${#values[@]} > 0)); then
            # --option=value is three words here.
            [[ $word == = ]] || values=("${values[@]:1}")
        elif [[ $word == -- && -z $has_ended ]]; then
            has_ended=yes
        elif [[ $word == -* && -z $has_ended ]]; then
            _keepalive_find "$path" "$word"
        elif [[ ${operand[0]-} == *@command ]]; then
            _keepalive_command "$i"
            return
        elif _keepalive_find "$path" "$word"; then
            path=${path:+$path }$word
            _keepalive_find "$path" ''
            operand=("${values[@]}")
            values=()
        fi
    done
    if ((${#values[@]} > 0)); then
        [[ $cur != = ]] || cur=''
        _keepalive_value "${values[0]}"
    elif [[ $cur == -* && -z $has_ended ]]; then
        _keepalive_words "$path" '-*'
    elif [[ ${operand[0]-} == *@command ]]; then
        _keepalive_command "$COMP_CWORD"
    elif ((${#operand[@]} > 0)); then
        _keepalive_value "${operand[0]}"
    else
        _keepalive_words "$path" '[!-]*'
    fi
}

complete -F _keepalive keepalive
