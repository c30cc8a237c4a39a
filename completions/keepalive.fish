# fish completion of keepalive(1). Made by make docs, of the command.

function __keepalive_subcommands --description 'The subcommands of a subcommand'
    switch "$argv"
        case ''
            string split ' ' 'run attach cgroup system unit list probe doctor explain check presets'
        case 'cgroup'
            string split ' ' 'enable disable status'
        case 'system'
            string split ' ' 'enable refresh disable status'
        case 'unit'
            string split ' ' 'enable disable status'
    end
end

function __keepalive_values --description 'How many values an option takes'
    switch $argv[1]
        case --config --count --engine --idle --interval --io-uring --library --max --mode --parallel --pid --port --precision --preset --program --root --rule --user-timeout
            echo 1
        case --for
            echo 2
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
        else if contains -- "$path" 'run' 'doctor'
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

complete -c keepalive -n '__keepalive_at' -a run -d 'Run a program with TCP keepalive on every connection'
complete -c keepalive -n '__keepalive_at' -a attach -d 'Set keepalive on the connections of running processes'
complete -c keepalive -n '__keepalive_at' -a cgroup -d 'Set keepalive for every program in a cgroup, by eBPF'
complete -c keepalive -n '__keepalive_at' -a system -d 'Load the library into every program of the system, by /etc/ld.so.preload'
complete -c keepalive -n '__keepalive_at' -a unit -d 'Set keepalive for a systemd service, by a drop-in'
complete -c keepalive -n '__keepalive_at' -a list -d 'Show the TCP sockets of running processes and their real keepalive settings'
complete -c keepalive -n '__keepalive_at' -a probe -d 'Measure how long a path remembers an idle connection'
complete -c keepalive -n '__keepalive_at' -a doctor -d 'Show which engines work on this machine, reach a program, or reach a process'
complete -c keepalive -n '__keepalive_at' -a explain -d 'Show what a policy does: settings, their sources, the timeline, and warnings'
complete -c keepalive -n '__keepalive_at' -a check -d 'Check a rules file'
complete -c keepalive -n '__keepalive_at' -a presets -d 'List the presets: known middleboxes, their timeouts, and settings that help'
complete -c keepalive -n '__keepalive_at' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at' -s V -l version -d 'Print version'

complete -c keepalive -n '__keepalive_at run' -l engine -x -a "auto\t'Choose automatically; fail if no engine can reach the program' preload\t'The library, by LD_PRELOAD, even if it has no effect' seccomp\t'A supervisor of system calls; also reaches static and Go programs' cgroup\t'An eBPF program for a cgroup of its own; reaches every program; requires root'" -d 'Engine that reaches COMMAND'
complete -c keepalive -n '__keepalive_at run' -l in-place -d 'Run COMMAND under the process id of keepalive, or fail'
complete -c keepalive -n '__keepalive_at run' -l io-uring -x -a "allow\t'COMMAND may use it' deny\t'io_uring_setup(2) fails with ENOSYS, so that COMMAND uses ordinary calls'" -d 'Whether COMMAND may use io_uring'
complete -c keepalive -n '__keepalive_at run' -s v -l verbose -d 'Print the engine, the reason for it and the policy on standard error'
complete -c keepalive -n '__keepalive_at run' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at run' -l interval -x -d 'Time between unanswered probes'
complete -c keepalive -n '__keepalive_at run' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at run' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at run' -l mode -x -a "fill\t'the program\'s values stay' cap\t'never higher than the policy' floor\t'never lower than the policy' enforce\t'exactly the policy'" -d 'Precedence where the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at run' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'Idle time, interval and count for a known middlebox'
complete -c keepalive -n '__keepalive_at run' -l rule -x -d 'Rule for some connections; may be repeated'
complete -c keepalive -n '__keepalive_at run' -l config -r -F -d 'Rules file to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at run' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_in run' -x -a '(__keepalive_command)'

complete -c keepalive -n '__keepalive_at attach' -l program -x -a '(__fish_complete_proc)' -d 'The processes with this name'
complete -c keepalive -n '__keepalive_at attach' -l all -d 'All processes that the user may trace'
complete -c keepalive -n '__keepalive_at attach' -l dry-run -d 'Print what would be set, and set nothing'
complete -c keepalive -n '__keepalive_at attach' -l watch -d 'Continue with new sockets until the processes have ended'
complete -c keepalive -n '__keepalive_at attach' -l json -d 'Print a JSON array; with --watch, one object a line'
complete -c keepalive -n '__keepalive_at attach' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at attach' -l interval -x -d 'Time between unanswered probes'
complete -c keepalive -n '__keepalive_at attach' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at attach' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at attach' -l mode -x -a "fill\t'the program\'s values stay' cap\t'never higher than the policy' floor\t'never lower than the policy' enforce\t'exactly the policy'" -d 'Precedence where the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at attach' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'Idle time, interval and count for a known middlebox'
complete -c keepalive -n '__keepalive_at attach' -l rule -x -d 'Rule for some connections; may be repeated'
complete -c keepalive -n '__keepalive_at attach' -l config -r -F -d 'Rules file to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at attach' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at attach' -f -a '(__fish_complete_pids)'

complete -c keepalive -n '__keepalive_at cgroup' -a enable -d 'Apply a policy to a cgroup, in place of its current one'
complete -c keepalive -n '__keepalive_at cgroup' -a disable -d 'End the policy of a cgroup; open connections keep their settings'
complete -c keepalive -n '__keepalive_at cgroup' -a status -d 'Show the active policies, how often each rule was used, and problems'
complete -c keepalive -n '__keepalive_at cgroup' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at cgroup enable' -l existing -d 'Also set open connections'
complete -c keepalive -n '__keepalive_at cgroup enable' -l watch -d 'Stay, follow changes, and end the policy with this command'
complete -c keepalive -n '__keepalive_at cgroup enable' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at cgroup enable' -l interval -x -d 'Time between unanswered probes'
complete -c keepalive -n '__keepalive_at cgroup enable' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at cgroup enable' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at cgroup enable' -l mode -x -a "fill\t'the program\'s values stay' cap\t'never higher than the policy' floor\t'never lower than the policy' enforce\t'exactly the policy'" -d 'Precedence where the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at cgroup enable' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'Idle time, interval and count for a known middlebox'
complete -c keepalive -n '__keepalive_at cgroup enable' -l rule -x -d 'Rule for some connections; may be repeated'
complete -c keepalive -n '__keepalive_at cgroup enable' -l config -r -F -d 'Rules file to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at cgroup enable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at cgroup enable' -f -a '(__keepalive_cgroups)'

complete -c keepalive -n '__keepalive_at cgroup disable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at cgroup disable' -f -a '(__keepalive_cgroups)'

complete -c keepalive -n '__keepalive_at cgroup status' -l watched -d 'Also require that enable --watch in this container keeps each policy'
complete -c keepalive -n '__keepalive_at cgroup status' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at cgroup status' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at cgroup status' -f -a '(__keepalive_cgroups)'

complete -c keepalive -n '__keepalive_at system' -a enable -d 'Load the library into every dynamically linked program that starts from now on'
complete -c keepalive -n '__keepalive_at system' -a refresh -d 'Update the copies of the library if it is enabled'
complete -c keepalive -n '__keepalive_at system' -a disable -d 'Remove the library from /etc/ld.so.preload'
complete -c keepalive -n '__keepalive_at system' -a status -d 'Show whether the library is active, for which programs, and problems'
complete -c keepalive -n '__keepalive_at system' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at system enable' -l setuid -d 'Also serve set-user-ID programs and others in secure-execution mode'
complete -c keepalive -n '__keepalive_at system enable' -l library -r -F -d 'A libkeepalive.so to use for its kind of programs; may be repeated'
complete -c keepalive -n '__keepalive_at system enable' -l root -x -a '(__fish_complete_directories)' -d 'The root directory of another system, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at system enable' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at system refresh' -l root -x -a '(__fish_complete_directories)' -d 'The root directory of another system, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at system refresh' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at system disable' -l root -x -a '(__fish_complete_directories)' -d 'The root directory of another system, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at system disable' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at system status' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at system status' -l root -x -a '(__fish_complete_directories)' -d 'The root directory of another system, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at system status' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at unit' -a enable -d 'Write the drop-in'
complete -c keepalive -n '__keepalive_at unit' -a disable -d 'Remove the drop-in'
complete -c keepalive -n '__keepalive_at unit' -a status -d 'Show the drop-in, and whether the running service uses it'
complete -c keepalive -n '__keepalive_at unit' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at unit enable' -l user -d 'A unit of the user\'s own systemd manager'
complete -c keepalive -n '__keepalive_at unit enable' -l root -x -a '(__fish_complete_directories)' -d 'A unit of the system below DIR, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at unit enable' -l engine -x -a "preload\t'The library, by LD_PRELOAD' cgroup\t'An eBPF program for the service\'s cgroup; also reaches static programs'" -d 'Engine that reaches the service'
complete -c keepalive -n '__keepalive_at unit enable' -l dry-run -d 'Print the drop-in, and write nothing'
complete -c keepalive -n '__keepalive_at unit enable' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at unit enable' -l interval -x -d 'Time between unanswered probes'
complete -c keepalive -n '__keepalive_at unit enable' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at unit enable' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at unit enable' -l mode -x -a "fill\t'the program\'s values stay' cap\t'never higher than the policy' floor\t'never lower than the policy' enforce\t'exactly the policy'" -d 'Precedence where the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at unit enable' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'Idle time, interval and count for a known middlebox'
complete -c keepalive -n '__keepalive_at unit enable' -l rule -x -d 'Rule for some connections; may be repeated'
complete -c keepalive -n '__keepalive_at unit enable' -l config -r -F -d 'Rules file to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at unit enable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at unit enable' -f -a '(__keepalive_units)'

complete -c keepalive -n '__keepalive_at unit disable' -l user -d 'A unit of the user\'s own systemd manager'
complete -c keepalive -n '__keepalive_at unit disable' -l root -x -a '(__fish_complete_directories)' -d 'A unit of the system below DIR, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at unit disable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at unit disable' -f -a '(__keepalive_units)'

complete -c keepalive -n '__keepalive_at unit status' -l user -d 'A unit of the user\'s own systemd manager'
complete -c keepalive -n '__keepalive_at unit status' -l root -x -a '(__fish_complete_directories)' -d 'A unit of the system below DIR, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at unit status' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at unit status' -f -a '(__keepalive_units)'

complete -c keepalive -n '__keepalive_at list' -l program -x -a '(__fish_complete_proc)' -d 'The processes with this name'
complete -c keepalive -n '__keepalive_at list' -l listening -d 'Only listening sockets'
complete -c keepalive -n '__keepalive_at list' -l port -x -d 'Only sockets with this port, at either end'
complete -c keepalive -n '__keepalive_at list' -l off -d 'Only sockets without keepalive'
complete -c keepalive -n '__keepalive_at list' -l json -d 'Print a JSON array; with --watch, one array a line'
complete -c keepalive -n '__keepalive_at list' -l watch -d 'Print again every second, until the named processes have ended'
complete -c keepalive -n '__keepalive_at list' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at list' -f -a '(__fish_complete_pids)'

complete -c keepalive -n '__keepalive_at probe' -l max -x -d 'Longest idle time to try: 10 seconds to 9 hours'
complete -c keepalive -n '__keepalive_at probe' -l precision -x -d 'Precision of the result: 1% to 50% of the timeout'
complete -c keepalive -n '__keepalive_at probe' -l parallel -x -d 'Connections at a time: 2 to 64'
complete -c keepalive -n '__keepalive_at probe' -l no-verify -d 'Do not check at the end that keepalive helps'
complete -c keepalive -n '__keepalive_at probe' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at probe' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at doctor' -l pid -x -a '(__fish_complete_pids)' -d 'Examine a running process and its connections'
complete -c keepalive -n '__keepalive_at doctor' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at doctor' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_in doctor' -x -a '(__keepalive_command)'

complete -c keepalive -n '__keepalive_at explain' -l for -x -a "connect accept" -d 'A connection to ADDRESS:PORT, or from ADDRESS accepted on the local PORT'
complete -c keepalive -n '__keepalive_at explain' -l program -r -F -d 'Name of the program: the last part of the path by which it is started'
complete -c keepalive -n '__keepalive_at explain' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at explain' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at explain' -l interval -x -d 'Time between unanswered probes'
complete -c keepalive -n '__keepalive_at explain' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at explain' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at explain' -l mode -x -a "fill\t'the program\'s values stay' cap\t'never higher than the policy' floor\t'never lower than the policy' enforce\t'exactly the policy'" -d 'Precedence where the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at explain' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'Idle time, interval and count for a known middlebox'
complete -c keepalive -n '__keepalive_at explain' -l rule -x -d 'Rule for some connections; may be repeated'
complete -c keepalive -n '__keepalive_at explain' -l config -r -F -d 'Rules file to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at explain' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at check' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at check' -F

complete -c keepalive -n '__keepalive_at presets' -l json -d 'Print a JSON array'
complete -c keepalive -n '__keepalive_at presets' -s h -l help -d 'Print help'
