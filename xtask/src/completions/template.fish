# fish completion of keepalive(1). Made by make docs, of the command.

# CONTEXT|WORD|REPEATED|VALUES|HELP: what follows the subcommand CONTEXT. A subcommand or option is its WORD; operands have
# none. Each of the VALUES is NAME@KIND; the kind wordsNUMBER is the CONTEXT of a list of words.
set -g __keepalive_table \
@TABLE@
    ''

function __keepalive_values --description 'The values of a word in a context; fails if there is no such word'
    for row in $__keepalive_table
        set -l fields (string split '|' -- $row)
        if test "$fields[1]" = "$argv[1]"; and test "$fields[2]" = "$argv[2]"
            string split -n ' ' -- $fields[4]
            return 0
        end
    end
    return 1
end

function __keepalive_words --description 'The words of a context with their help'
    for row in $__keepalive_table
        set -l fields (string split '|' -- $row)
        if test "$fields[1]" = "$argv[1]"; and test -n "$fields[2]"
            printf '%s\t%s\n' $fields[2] $fields[5]
        end
    end
end

function __keepalive_value --description 'What a value NAME@KIND can be'
    set -l kind (string split -m 1 @ -- $argv[1])[2]
    set -l word (string replace -r -- '^--[^=]*=' '' (commandline -ct))
    switch $kind
        case 'words*'
            __keepalive_words $kind
        case files
            __fish_complete_path $word
        case directories
            __fish_complete_directories $word
        case cgroups
            set -l mount /sys/fs/cgroup
            test -d $mount/unified; and set mount $mount/unified
            set -l directories $mount/(string trim --left --chars / -- $word)*/
            string replace -- $mount '' $directories
        case processes
            __fish_complete_pids
        case programs
            __fish_complete_proc
        case units
            systemctl list-unit-files --plain --no-legend 2>/dev/null | string replace -r ' .*' ''
    end
end

function __keepalive_complete --description 'What the word at the cursor can be'
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l path
    set -l values
    set -l operand
    set -l has_ended no
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        if set -q values[1]
            set -e values[1]
        else if test $has_ended = no; and test "$word" = --
            set has_ended yes
        else if test $has_ended = no; and string match -q -- '-*' $word
            set values (__keepalive_values "$path" (string replace -r '=.*' '' -- $word))
            # Its value is there already.
            string match -q -- '*=*' $word; and set -e values[1]
        else if string match -q -- '*@command' "$operand[1]"
            break
        else if set -l found (__keepalive_values "$path" $word)
            set -a path $word
            set operand (__keepalive_values "$path" '')
        end
        set -e words[1]
    end
    if set -q values[1]
        __keepalive_value $values[1]
    else if test $has_ended = no; and not set -q words[1]; and string match -q -- '--*=*' $current
        set -l parts (string split -m 1 = -- $current)
        __keepalive_value (__keepalive_values "$path" $parts[1])[1] | string replace -r -- '^' $parts[1]=
    else if test $has_ended = no; and not set -q words[1]; and string match -q -- '-*' $current
        __keepalive_words "$path" | string match -- '-*'
    else if string match -q -- '*@command' "$operand[1]"
        complete --do-complete=(string join ' ' -- (string escape -- $words) $current)
    else if set -q operand[1]
        __keepalive_value $operand[1]
    else
        __keepalive_words "$path" | string match -v -- '-*'
    end
end

complete -c keepalive -f -a '(__keepalive_complete)'
