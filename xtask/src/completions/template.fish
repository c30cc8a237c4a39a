# fish completion of keepalive(1). Made by make docs, of the command.

function __keepalive_subcommands --description 'The subcommands of a subcommand'
    switch "$argv"
@SUBCOMMANDS@
    end
end

function __keepalive_values --description 'How many values an option takes'
    switch $argv[1]
@OPTIONS@
        case '*'
            echo 0
    end
end

function __keepalive_read --description 'The subcommand at the cursor, then the words of the command that it is given'
    set -l words (commandline -opc)
    set -l path
    set -l left 0
    set -l has_ended no
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        if test $left -gt 0
            set left (math $left - 1)
        else if test $has_ended = no; and test "$word" = --
            set has_ended yes
        else if test $has_ended = no; and string match -q -- '-*' $word
            set left (__keepalive_values $word)
        else if contains -- $word (__keepalive_subcommands "$path")
            set -a path $word
@COMMANDS@
            break
        end
        set -e words[1]
    end
    echo "$path"
    string join \n -- $words
end

function __keepalive_at --description 'Whether this subcommand is to be completed'
    set -l state (__keepalive_read)
    test (count $state) -eq 1 -a "$state[1]" = "$argv"
end

function __keepalive_in --description 'The same, or the command that it is given'
    set -l state (__keepalive_read)
    test "$state[1]" = "$argv"
end

function __keepalive_command --description 'What would complete the command alone'
    set -l state (__keepalive_read)
    set -l words (string escape -- $state[2..])
    complete --do-complete=(string join ' ' -- $words (commandline -ct))
end

function __keepalive_cgroups
    set -l mount /sys/fs/cgroup
    test -d $mount/unified; and set mount $mount/unified
    set -l word (string trim --left --chars / -- (commandline -ct))
    set -l directories $mount/$word*/
    string replace -- $mount '' $directories
end

function __keepalive_units
    systemctl list-unit-files --plain --no-legend 2>/dev/null | string replace -r ' .*' ''
end

complete -c keepalive -f
@COMPLETIONS@
