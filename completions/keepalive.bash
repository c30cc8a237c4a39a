# bash completion of keepalive(1). Made by make docs, of the command.
# shellcheck shell=bash

# What there is at the subcommand $path: into commands, options and operand, which is a kind of values as below.
_keepalive_at() {
    case $path in
    '')
        commands='run attach cgroup system unit list probe doctor explain check presets'
        options='--help --version'
        operand=''
        ;;
    'run')
        commands=''
        options='--engine --in-place --io-uring --verbose --idle --interval --count --user-timeout --mode --preset --rule --config --help'
        operand=@command
        ;;
    'attach')
        commands=''
        options='--program --all --dry-run --watch --json --idle --interval --count --user-timeout --mode --preset --rule --config --help'
        operand=@processes
        ;;
    'cgroup')
        commands='enable disable status'
        options='--help'
        operand=''
        ;;
    'cgroup enable')
        commands=''
        options='--existing --watch --idle --interval --count --user-timeout --mode --preset --rule --config --help'
        operand=@cgroups
        ;;
    'cgroup disable')
        commands=''
        options='--help'
        operand=@cgroups
        ;;
    'cgroup status')
        commands=''
        options='--watched --json --help'
        operand=@cgroups
        ;;
    'system')
        commands='enable refresh disable status'
        options='--help'
        operand=''
        ;;
    'system enable')
        commands=''
        options='--setuid --library --root --help'
        operand=''
        ;;
    'system refresh')
        commands=''
        options='--root --help'
        operand=''
        ;;
    'system disable')
        commands=''
        options='--root --help'
        operand=''
        ;;
    'system status')
        commands=''
        options='--json --root --help'
        operand=''
        ;;
    'unit')
        commands='enable disable status'
        options='--help'
        operand=''
        ;;
    'unit enable')
        commands=''
        options='--user --root --engine --dry-run --idle --interval --count --user-timeout --mode --preset --rule --config --help'
        operand=@units
        ;;
    'unit disable')
        commands=''
        options='--user --root --help'
        operand=@units
        ;;
    'unit status')
        commands=''
        options='--user --root --help'
        operand=@units
        ;;
    'list')
        commands=''
        options='--program --listening --port --off --json --watch --help'
        operand=@processes
        ;;
    'probe')
        commands=''
        options='--max --precision --parallel --no-verify --json --help'
        operand=''
        ;;
    'doctor')
        commands=''
        options='--pid --json --help'
        operand=@command
        ;;
    'explain')
        commands=''
        options='--for --program --json --idle --interval --count --user-timeout --mode --preset --rule --config --help'
        operand=''
        ;;
    'check')
        commands=''
        options='--help'
        operand=@files
        ;;
    'presets')
        commands=''
        options='--json --help'
        operand=''
        ;;
    esac
}

# What the values of option $1 can be, each: into kinds.
_keepalive_kinds() {
    kinds=()
    case "$path $1" in
    *' --config') kinds=(@files) ;;
    *' --count') kinds=('') ;;
    'run --engine') kinds=('auto preload seccomp cgroup') ;;
    'unit enable --engine') kinds=('preload cgroup') ;;
    *' --for') kinds=('connect accept' '') ;;
    *' --idle') kinds=('') ;;
    *' --interval') kinds=('') ;;
    *' --io-uring') kinds=('allow deny') ;;
    *' --library') kinds=(@files) ;;
    *' --max') kinds=('') ;;
    *' --mode') kinds=('fill cap floor enforce') ;;
    *' --parallel') kinds=('') ;;
    *' --pid') kinds=(@processes) ;;
    *' --port') kinds=('') ;;
    *' --precision') kinds=('') ;;
    *' --preset') kinds=('aws-nat aws-nlb aws-gwlb aws-ec2 aws-nfw azure gcp oci-nlb ipvs swarm fw-1h home mobile default') ;;
    'attach --program' | 'list --program') kinds=(@programs) ;;
    'explain --program') kinds=(@files) ;;
    *' --root') kinds=(@directories) ;;
    *' --rule') kinds=('') ;;
    *' --user-timeout') kinds=('') ;;
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
