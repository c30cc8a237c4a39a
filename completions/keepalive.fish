# fish completion of keepalive(1). Made by make docs, of the command.

# CONTEXT|WORD|REPEATED|VALUES|HELP: what follows the subcommand CONTEXT. A subcommand or option is its WORD; operands have
# none. Each of the VALUES is NAME@KIND; the kind wordsNUMBER is the CONTEXT of a list of words.
set -g __keepalive_table \
    '|run|||Run a program with TCP keepalive on every connection' \
    '|attach|||Set keepalive on the connections of running processes' \
    '|cgroup|||Set keepalive for every program in a cgroup, by eBPF' \
    '|system|||Load the library into every program of the system, by /etc/ld.so.preload' \
    '|unit|||Set keepalive for a systemd service, by a drop-in' \
    '|list|||Show the TCP sockets of running processes and their real keepalive settings' \
    '|trace|||Show TCP connections that end after being idle, and what ended them' \
    '|probe|||Measure how long a path remembers an idle connection' \
    '|doctor|||Show which engines work on this machine, reach a program, a service, or a process' \
    '|explain|||Show what a policy does: settings, their sources, the timeline, and warnings' \
    '|check|||Check a rules file' \
    '|presets|||List the presets: known middleboxes, their timeouts, and settings that help' \
    '|oci-hook|||Apply a container\'s policy, as a hook of its runtime' \
    '|nri|||Apply the policies of pods, as a plugin of containerd or CRI-O' \
    '|-h|||Print help' \
    '|--help|||Print help' \
    '|-V|||Print version' \
    '|--version|||Print version' \
    'run|--engine||engine@words0|Engine that reaches COMMAND' \
    'run|--in-place|||Run COMMAND under the process id of keepalive, or fail' \
    'run|--io-uring||allow/deny@words1|Whether COMMAND may use io_uring' \
    'run|-v|||Print the engine, the reason for it and the policy on standard error' \
    'run|--verbose|||Print the engine, the reason for it and the policy on standard error' \
    'run|--verify|||Report on standard error which connections were set, when COMMAND has ended' \
    'run||*|command@command|' \
    'run|--idle||time@unknown|Idle time before the first probe' \
    'run|--interval||time@unknown|Time between unanswered probes' \
    'run|--count||n@unknown|Unanswered probes that end the connection' \
    'run|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'run|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'run|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'run|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'run|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'run|-h|||Print help' \
    'run|--help|||Print help' \
    'attach||*|pid@processes|' \
    'attach|--program||name@programs|The processes with this name' \
    'attach|--all|||All processes that the user may trace' \
    'attach|--dry-run|||Print what would be set, and set nothing' \
    'attach|--watch|||Continue with new sockets until the processes have ended' \
    'attach|--json|||Print a JSON array; with --watch, one object a line' \
    'attach|--idle||time@unknown|Idle time before the first probe' \
    'attach|--interval||time@unknown|Time between unanswered probes' \
    'attach|--count||n@unknown|Unanswered probes that end the connection' \
    'attach|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'attach|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'attach|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'attach|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'attach|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'attach|-h|||Print help' \
    'attach|--help|||Print help' \
    'cgroup|enable|||Apply a policy to a cgroup, in place of its current one' \
    'cgroup|disable|||End the policy of a cgroup; open connections keep their settings' \
    'cgroup|status|||Show the active policies, how often each rule was used, and problems' \
    'cgroup|-h|||Print help' \
    'cgroup|--help|||Print help' \
    'cgroup enable||*|cgroup@cgroups|' \
    'cgroup enable|--pid|*|pid@processes|The cgroup of this process; repeatable' \
    'cgroup enable|--container|*|name/id@words4|The cgroup of this running container, by its name or by at least 4 digits of its id; repeatable' \
    'cgroup enable|--existing|||Also set open connections' \
    'cgroup enable|--watch|||Stay, follow changes, and end the policy with this command' \
    'cgroup enable|--metrics-file||file@files|With --watch: keep metrics in this file, for node_exporter' \
    'cgroup enable|--metrics-listen||address:port@unknown|With --watch: serve metrics by HTTP on this address' \
    'cgroup enable|--count-endings|||Count the connections of each rule that fail, by cause' \
    'cgroup enable|--idle||time@unknown|Idle time before the first probe' \
    'cgroup enable|--interval||time@unknown|Time between unanswered probes' \
    'cgroup enable|--count||n@unknown|Unanswered probes that end the connection' \
    'cgroup enable|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'cgroup enable|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'cgroup enable|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'cgroup enable|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'cgroup enable|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'cgroup enable|-h|||Print help' \
    'cgroup enable|--help|||Print help' \
    'cgroup disable||*|cgroup@cgroups|' \
    'cgroup disable|--pid|*|pid@processes|The cgroup of this process; repeatable' \
    'cgroup disable|--container|*|name/id@words4|The cgroup of this running container, by its name or by at least 4 digits of its id; repeatable' \
    'cgroup disable|-h|||Print help' \
    'cgroup disable|--help|||Print help' \
    'cgroup status||*|cgroup@cgroups|' \
    'cgroup status|--pid|*|pid@processes|The cgroup of this process; repeatable' \
    'cgroup status|--container|*|name/id@words4|The cgroup of this running container, by its name or by at least 4 digits of its id; repeatable' \
    'cgroup status|--watched|||Also require that enable --watch in this container keeps each policy' \
    'cgroup status|--json|||Print a JSON object' \
    'cgroup status|--metrics|||Print metrics as OpenMetrics text' \
    'cgroup status|-h|||Print help' \
    'cgroup status|--help|||Print help' \
    'system|enable|||Load the library into every dynamically linked program that starts from now on' \
    'system|refresh|||Update the copies of the library if it is enabled' \
    'system|disable|||Remove the library from /etc/ld.so.preload' \
    'system|status|||Show whether the library is active, for which programs, and problems' \
    'system|-h|||Print help' \
    'system|--help|||Print help' \
    'system enable|--setuid|||Also serve set-user-ID programs and others in secure-execution mode' \
    'system enable|--library|*|file@files|A libkeepalive.so to use for its kind of programs; may be repeated' \
    'system enable|--root||dir@directories|The root directory of another system, such as an image or a chroot' \
    'system enable|-h|||Print help' \
    'system enable|--help|||Print help' \
    'system refresh|--root||dir@directories|The root directory of another system, such as an image or a chroot' \
    'system refresh|-h|||Print help' \
    'system refresh|--help|||Print help' \
    'system disable|--root||dir@directories|The root directory of another system, such as an image or a chroot' \
    'system disable|-h|||Print help' \
    'system disable|--help|||Print help' \
    'system status|--json|||Print a JSON object' \
    'system status|--root||dir@directories|The root directory of another system, such as an image or a chroot' \
    'system status|-h|||Print help' \
    'system status|--help|||Print help' \
    'unit|enable|||Write the drop-in' \
    'unit|disable|||Remove the drop-in' \
    'unit|status|||Show the drop-in, and whether the running service uses it' \
    'unit|-h|||Print help' \
    'unit|--help|||Print help' \
    'unit enable|||unit@units|' \
    'unit enable|--user|||A unit of the user\'s own systemd manager' \
    'unit enable|--root||dir@directories|A unit of the system below DIR, such as an image or a chroot' \
    'unit enable|--engine||engine@words5|Engine that reaches the service' \
    'unit enable|--now|||Restart the service, and check that its connections have the policy' \
    'unit enable|--dry-run|||Print the drop-in, and write nothing' \
    'unit enable|--idle||time@unknown|Idle time before the first probe' \
    'unit enable|--interval||time@unknown|Time between unanswered probes' \
    'unit enable|--count||n@unknown|Unanswered probes that end the connection' \
    'unit enable|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'unit enable|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'unit enable|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'unit enable|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'unit enable|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'unit enable|-h|||Print help' \
    'unit enable|--help|||Print help' \
    'unit disable|||unit@units|' \
    'unit disable|--user|||A unit of the user\'s own systemd manager' \
    'unit disable|--root||dir@directories|A unit of the system below DIR, such as an image or a chroot' \
    'unit disable|-h|||Print help' \
    'unit disable|--help|||Print help' \
    'unit status|||unit@units|' \
    'unit status|--user|||A unit of the user\'s own systemd manager' \
    'unit status|--root||dir@directories|A unit of the system below DIR, such as an image or a chroot' \
    'unit status|-h|||Print help' \
    'unit status|--help|||Print help' \
    'list||*|pid@processes|' \
    'list|--program||name@programs|The processes with this name' \
    'list|--listening|||Only listening sockets' \
    'list|--port||port@unknown|Only sockets with this port, at either end' \
    'list|--off|||Only sockets without keepalive' \
    'list|--json|||Print a JSON array; with --watch, one array a line' \
    'list|--watch|||Print again every second, until the named processes have ended' \
    'list|-h|||Print help' \
    'list|--help|||Print help' \
    'trace||*|pid@processes|' \
    'trace|--program||name@programs|Only connections of programs with this name' \
    'trace|--port||port@unknown|Only connections with this port, at either end' \
    'trace|--min-idle||time@unknown|Only connections that were idle for this long before: \'5\', \'90s\', \'5m\'' \
    'trace|--all|||All connections, also those that were not idle' \
    'trace|--for||time@unknown|End after this time; default: at Ctrl-C' \
    'trace|--summary||time@unknown|Print the summary also at this interval' \
    'trace|--json|||Print a JSON object per line' \
    'trace|-h|||Print help' \
    'trace|--help|||Print help' \
    'probe|||host:port@unknown|' \
    'probe|--pid||pid[:fd]@unknown|Measure on a connection of this process: \'4242\', \'4242:7\'' \
    'probe|--max||time@unknown|Longest idle time to try: 10 seconds to 9 hours' \
    'probe|--precision||percent@unknown|Precision of the result: 1% to 50% of the timeout' \
    'probe|--parallel||n@unknown|Connections at a time: 2 to 64' \
    'probe|--no-verify|||Do not check at the end that keepalive helps' \
    'probe|--json|||Print a JSON object' \
    'probe|-h|||Print help' \
    'probe|--help|||Print help' \
    'doctor|--pid||pid@processes|Examine a running process, and compare its connections with its policy' \
    'doctor|--unit||unit@units|Examine a systemd service: what it runs, which engine reaches it, and its connections' \
    'doctor|--json|||Print a JSON object' \
    'doctor||*|command@command|' \
    'doctor|--idle||time@unknown|Idle time before the first probe' \
    'doctor|--interval||time@unknown|Time between unanswered probes' \
    'doctor|--count||n@unknown|Unanswered probes that end the connection' \
    'doctor|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'doctor|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'doctor|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'doctor|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'doctor|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'doctor|-h|||Print help' \
    'doctor|--help|||Print help' \
    'explain|--for|*|connect/accept@words6 address:port@unknown|A connection to ADDRESS:PORT, or from ADDRESS accepted on the local PORT' \
    'explain|--program||name@programs|Name of the program: the last part of the path by which it is started' \
    'explain|--json|||Print a JSON object' \
    'explain|--idle||time@unknown|Idle time before the first probe' \
    'explain|--interval||time@unknown|Time between unanswered probes' \
    'explain|--count||n@unknown|Unanswered probes that end the connection' \
    'explain|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'explain|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'explain|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'explain|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'explain|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'explain|-h|||Print help' \
    'explain|--help|||Print help' \
    'check|||file@files|' \
    'check|-h|||Print help' \
    'check|--help|||Print help' \
    'presets|--json|||Print a JSON array' \
    'presets|-h|||Print help' \
    'presets|--help|||Print help' \
    'oci-hook|--idle||time@unknown|Idle time before the first probe' \
    'oci-hook|--interval||time@unknown|Time between unanswered probes' \
    'oci-hook|--count||n@unknown|Unanswered probes that end the connection' \
    'oci-hook|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'oci-hook|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'oci-hook|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'oci-hook|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'oci-hook|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'oci-hook|-h|||Print help' \
    'oci-hook|--help|||Print help' \
    'nri|--socket||path@files|The socket of the runtime\'s Node Resource Interface' \
    'nri|--pods||file@files|File with the defaults of namespaces and labels' \
    'nri|--status|||Ask the running keepalive nri of this container whether it is ready, and exit' \
    'nri|--idle||time@unknown|Idle time before the first probe' \
    'nri|--interval||time@unknown|Time between unanswered probes' \
    'nri|--count||n@unknown|Unanswered probes that end the connection' \
    'nri|--user-timeout||time@unknown|How long sent data may stay unacknowledged' \
    'nri|--mode||mode@words2|Precedence where the program sets keepalive itself' \
    'nri|--preset||name@words3|Idle time, interval and count for a known middlebox' \
    'nri|--rule|*|rule@unknown|Rule for some connections; may be repeated' \
    'nri|--config||file@files|Rules file to read instead of /etc/keepalive.conf' \
    'nri|-h|||Print help' \
    'nri|--help|||Print help' \
    'words0|auto|||Choose automatically; fail if no engine can reach the program' \
    'words0|preload|||The library, by LD_PRELOAD, even if it has no effect' \
    'words0|seccomp|||A supervisor of system calls; also reaches static and Go programs' \
    'words0|cgroup|||An eBPF program for a cgroup of its own; reaches every program; requires root' \
    'words1|allow|||COMMAND may use it' \
    'words1|deny|||io_uring_setup(2) fails with ENOSYS, so that COMMAND uses ordinary calls' \
    'words2|fill|||the program\'s values stay' \
    'words2|cap|||never higher than the policy' \
    'words2|floor|||never lower than the policy' \
    'words2|enforce|||exactly the policy' \
    'words3|aws-nat|||AWS NAT gateway, VPC interface endpoint (not settable)' \
    'words3|aws-nlb|||AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' \
    'words3|aws-gwlb|||AWS Gateway Load Balancer (60 to 6000 s and RST settable)' \
    'words3|aws-ec2|||security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' \
    'words3|aws-nfw|||AWS Network Firewall (60 to 6000 s settable)' \
    'words3|azure|||Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' \
    'words3|azure-fw|||Azure Firewall (4 min to and from the Internet, to 15 min on request; 5 min inside)' \
    'words3|gcp|||Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' \
    'words3|oci-nlb|||Oracle Cloud Network Load Balancer (settable)' \
    'words3|ipvs|||Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' \
    'words3|swarm|||virtual address of a Docker Swarm service' \
    'words3|fw-30m|||Juniper SRX (settable for each application)' \
    'words3|fw-1h|||Cisco ASA, FortiGate, Palo Alto (settable)' \
    'words3|home|||home routers (the shortest of 34 measured; their mean is over six hours)' \
    'words3|mobile|||mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' \
    'words3|default|||unknown path: short enough for every middlebox here' \
    'words4|NAME|||' \
    'words4|ID|||' \
    'words5|auto|||Choose automatically: the library, or an eBPF program where something is in the way of the library' \
    'words5|preload|||The library, by LD_PRELOAD' \
    'words5|cgroup|||An eBPF program for the service\'s cgroup; also reaches static programs' \
    'words6|connect|||' \
    'words6|accept|||' \
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
