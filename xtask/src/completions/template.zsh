#compdef keepalive
# zsh completion of keepalive(1). Made by make docs, of the command.

@FUNCTIONS@
_keepalive_processes() {
    local expl pid
    local -a pids=(/proc/<->(N:t)) shown
    for pid in $pids; do
        shown+=("$pid $(cat /proc/$pid/comm 2>/dev/null)")
    done
    _wanted processes expl process compadd -d shown -a pids
}

_keepalive_programs() {
    local expl
    local -aU names=(${(f)"$(cat /proc/<->/comm 2>/dev/null)"})
    _wanted programs expl program compadd -a names
}

_keepalive_cgroups() {
    local mount=/sys/fs/cgroup
    [[ ! -d $mount/unified ]] || mount+=/unified
    if compset -P /; then
        _files -/ -W $mount
    else
        _files -/ -W $mount -P /
    fi
}

_keepalive_units() {
    local expl
    local -a units=(${${(f)"$(systemctl list-unit-files --plain --no-legend 2>/dev/null)"}%% *})
    _wanted units expl unit compadd -a units
}

if [[ $funcstack[1] == _keepalive ]]; then
    _keepalive "$@"
else
    compdef _keepalive keepalive
fi
