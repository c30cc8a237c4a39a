# bash completion of keepalive(1). Made by make docs, of the command.
# shellcheck shell=bash

# What there is at the subcommand $path: into commands, options and operand, which is a kind of values as below.
_keepalive_at() {
    case $path in
@SUBCOMMANDS@
    esac
}

# What the values of option $1 can be, each: into kinds.
_keepalive_kinds() {
    kinds=()
    case "$path $1" in
@OPTIONS@
    esac
}

# Completes $cur: $1 is a list of words, or a kind.
_keepalive_complete() {
    local words prefix
    case $1 in
    @files)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    @directories)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    @cgroups)
        prefix=/sys/fs/cgroup
        [[ ! -d $prefix/unified ]] || prefix+=/unified
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -d -- "$prefix/${cur#/}")
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
        return
        ;;
    @processes)
        words=(/proc/[0-9]*)
        words=("${words[@]#/proc/}")
        ;;
    @programs) mapfile -t words < <(cat /proc/[0-9]*/comm 2>/dev/null | sort -u) ;;
    @units) mapfile -t words < <(systemctl list-unit-files --plain --no-legend 2>/dev/null | sed 's/ .*//') ;;
    *) read -ra words <<<"$1" ;;
    esac
    local IFS=$'\n'
    mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$cur")
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
    local cur=${COMP_WORDS[COMP_CWORD]} path='' commands='' options='' operand='' word has_ended=''
    local -a kinds=()
    local -i i
    COMPREPLY=()
    _keepalive_at
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((${#kinds[@]} > 0)); then
            # --option=value is three words here.
            [[ $word == = ]] || kinds=("${kinds[@]:1}")
        elif [[ $word == -- && -z $has_ended ]]; then
            has_ended=yes
        elif [[ $word == -* && -z $has_ended ]]; then
            _keepalive_kinds "$word"
        elif [[ " $commands " == *" $word "* ]]; then
            path=${path:+$path }$word
            _keepalive_at
        elif [[ $operand == @command ]]; then
            _keepalive_command "$i"
            return
        fi
    done
    if ((${#kinds[@]} > 0)); then
        [[ $cur != = ]] || cur=''
        _keepalive_complete "${kinds[0]}"
    elif [[ $cur == -* && -z $has_ended ]]; then
        _keepalive_complete "$options"
    elif [[ -n $commands ]]; then
        _keepalive_complete "$commands"
    elif [[ $operand == @command ]]; then
        _keepalive_command "$COMP_CWORD"
    else
        _keepalive_complete "$operand"
    fi
}

complete -F _keepalive keepalive
