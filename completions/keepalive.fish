# fish completion of keepalive(1). Made by make docs, of the command.

function __keepalive_subcommands --description 'The subcommands of a subcommand'
    switch "$argv"
        case ''
            string split ' ' 'run attach cgroup system unit list probe doctor explain check presets'
        case 'cgroup'
            string split ' ' 'enable disable status'
        case 'system'
            string split ' ' 'enable disable status'
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
complete -c keepalive -n '__keepalive_at' -a attach -d 'Set keepalive on the connections of processes that run already'
complete -c keepalive -n '__keepalive_at' -a cgroup -d 'Set keepalive for everything in a cgroup, in the kernel'
complete -c keepalive -n '__keepalive_at' -a system -d 'Give keepalive to every program on the system, by /etc/ld.so.preload'
complete -c keepalive -n '__keepalive_at' -a unit -d 'Set keepalive for a service of systemd, by a drop-in'
complete -c keepalive -n '__keepalive_at' -a list -d 'Show the TCP sockets of running processes and their real keepalive settings'
complete -c keepalive -n '__keepalive_at' -a probe -d 'Measure how long a path remembers an idle connection'
complete -c keepalive -n '__keepalive_at' -a doctor -d 'Show what decides whether connections get keepalive: machine, program, process'
complete -c keepalive -n '__keepalive_at' -a explain -d 'Show what a policy does: the settings, who says so, the timeline, what is unwise'
complete -c keepalive -n '__keepalive_at' -a check -d 'Check a file of rules'
complete -c keepalive -n '__keepalive_at' -a presets -d 'List the presets: known middleboxes, their timeouts, and what helps'
complete -c keepalive -n '__keepalive_at' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at' -s V -l version -d 'Print version'

complete -c keepalive -n '__keepalive_at run' -l engine -x -a "auto\t'Those that reach the program and what it starts, or a refusal' preload\t'The library, by LD_PRELOAD, even where it will have no effect' seccomp\t'A supervisor of system calls, which reaches static and Go programs too' cgroup\t'A program of the kernel for a cgroup of the command\'s own, which reaches everything; takes root'" -d 'How to reach the program'
complete -c keepalive -n '__keepalive_at run' -l in-place -d 'Run the command under this very process id, or fail'
complete -c keepalive -n '__keepalive_at run' -l io-uring -x -a "allow\t'The program may use it' deny\t'The program is told that the kernel has none, and falls back'" -d 'What becomes of io_uring, whose connections no engine sees'
complete -c keepalive -n '__keepalive_at run' -s v -l verbose -d 'Say on standard error which engine is used, why, and what is set'
complete -c keepalive -n '__keepalive_at run' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at run' -l interval -x -d 'Time between probes that are not answered'
complete -c keepalive -n '__keepalive_at run' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at run' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at run' -l mode -x -a "fill\t'the program' cap\t'the shorter' floor\t'the longer' enforce\t'this policy'" -d 'Who wins when the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at run' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'The timings for a middlebox, as \'keepalive presets\' lists them'
complete -c keepalive -n '__keepalive_at run' -l rule -x -d 'A rule, as in \'connect 10.0.0.0/8:5432 idle=30s\' or \'program sshd off\''
complete -c keepalive -n '__keepalive_at run' -l config -r -F -d 'A file of rules to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at run' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_in run' -x -a '(__keepalive_command)'

complete -c keepalive -n '__keepalive_at attach' -l program -x -a '(__fish_complete_proc)' -d 'The processes of this name'
complete -c keepalive -n '__keepalive_at attach' -l all -d 'All processes that this user may trace'
complete -c keepalive -n '__keepalive_at attach' -l dry-run -d 'Say what would be set, and set nothing'
complete -c keepalive -n '__keepalive_at attach' -l watch -d 'Go on with new sockets, and new processes of that name, until the processes have ended'
complete -c keepalive -n '__keepalive_at attach' -l json -d 'Print a JSON array'
complete -c keepalive -n '__keepalive_at attach' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at attach' -l interval -x -d 'Time between probes that are not answered'
complete -c keepalive -n '__keepalive_at attach' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at attach' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at attach' -l mode -x -a "fill\t'the program' cap\t'the shorter' floor\t'the longer' enforce\t'this policy'" -d 'Who wins when the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at attach' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'The timings for a middlebox, as \'keepalive presets\' lists them'
complete -c keepalive -n '__keepalive_at attach' -l rule -x -d 'A rule, as in \'connect 10.0.0.0/8:5432 idle=30s\' or \'program sshd off\''
complete -c keepalive -n '__keepalive_at attach' -l config -r -F -d 'A file of rules to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at attach' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at attach' -f -a '(__fish_complete_pids)'

complete -c keepalive -n '__keepalive_at cgroup' -a enable -d 'Put a policy in force for a cgroup, in place of the one that it has'
complete -c keepalive -n '__keepalive_at cgroup' -a disable -d 'End the policy of a cgroup; what is set on connections stays'
complete -c keepalive -n '__keepalive_at cgroup' -a status -d 'Show the policies in force, how often each rule was used, and what is in the way'
complete -c keepalive -n '__keepalive_at cgroup' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at cgroup enable' -l existing -d 'Set connections that are open already, too'
complete -c keepalive -n '__keepalive_at cgroup enable' -l watch -d 'Stay'
complete -c keepalive -n '__keepalive_at cgroup enable' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at cgroup enable' -l interval -x -d 'Time between probes that are not answered'
complete -c keepalive -n '__keepalive_at cgroup enable' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at cgroup enable' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at cgroup enable' -l mode -x -a "fill\t'the program' cap\t'the shorter' floor\t'the longer' enforce\t'this policy'" -d 'Who wins when the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at cgroup enable' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'The timings for a middlebox, as \'keepalive presets\' lists them'
complete -c keepalive -n '__keepalive_at cgroup enable' -l rule -x -d 'A rule, as in \'connect 10.0.0.0/8:5432 idle=30s\' or \'program sshd off\''
complete -c keepalive -n '__keepalive_at cgroup enable' -l config -r -F -d 'A file of rules to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at cgroup enable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at cgroup enable' -f -a '(__keepalive_cgroups)'

complete -c keepalive -n '__keepalive_at cgroup disable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at cgroup disable' -f -a '(__keepalive_cgroups)'

complete -c keepalive -n '__keepalive_at cgroup status' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at cgroup status' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at cgroup status' -f -a '(__keepalive_cgroups)'

complete -c keepalive -n '__keepalive_at system' -a enable -d 'Load the library into every dynamically linked program that starts from now on'
complete -c keepalive -n '__keepalive_at system' -a disable -d 'Take the library out of /etc/ld.so.preload again'
complete -c keepalive -n '__keepalive_at system' -a status -d 'Show whether the library is in force, for which programs, and what is wrong'
complete -c keepalive -n '__keepalive_at system' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at system enable' -l setuid -d 'Serve set-user-ID programs, and others of secure-execution mode, too'
complete -c keepalive -n '__keepalive_at system enable' -l library -r -F -d 'A libkeepalive.so to use, for its kind of programs'
complete -c keepalive -n '__keepalive_at system enable' -l root -x -a '(__fish_complete_directories)' -d 'The root directory of another system, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at system enable' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at system disable' -l root -x -a '(__fish_complete_directories)' -d 'The root directory of another system, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at system disable' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at system status' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at system status' -l root -x -a '(__fish_complete_directories)' -d 'The root directory of another system, such as an image or a chroot'
complete -c keepalive -n '__keepalive_at system status' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at unit' -a enable -d 'Write the drop-in'
complete -c keepalive -n '__keepalive_at unit' -a disable -d 'Remove the drop-in'
complete -c keepalive -n '__keepalive_at unit' -a status -d 'Show the drop-in, and whether the service that runs has it'
complete -c keepalive -n '__keepalive_at unit' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at unit enable' -l user -d 'A unit of this user\'s own manager'
complete -c keepalive -n '__keepalive_at unit enable' -l root -x -a '(__fish_complete_directories)' -d 'Units of the system in this directory'
complete -c keepalive -n '__keepalive_at unit enable' -l engine -x -a "preload\t'The library, by LD_PRELOAD' cgroup\t'A program of the kernel for the service\'s cgroup, which reaches static programs too'" -d 'How to reach the service'
complete -c keepalive -n '__keepalive_at unit enable' -l dry-run -d 'Print the drop-in, and write nothing'
complete -c keepalive -n '__keepalive_at unit enable' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at unit enable' -l interval -x -d 'Time between probes that are not answered'
complete -c keepalive -n '__keepalive_at unit enable' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at unit enable' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at unit enable' -l mode -x -a "fill\t'the program' cap\t'the shorter' floor\t'the longer' enforce\t'this policy'" -d 'Who wins when the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at unit enable' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'The timings for a middlebox, as \'keepalive presets\' lists them'
complete -c keepalive -n '__keepalive_at unit enable' -l rule -x -d 'A rule, as in \'connect 10.0.0.0/8:5432 idle=30s\' or \'program sshd off\''
complete -c keepalive -n '__keepalive_at unit enable' -l config -r -F -d 'A file of rules to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at unit enable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at unit enable' -f -a '(__keepalive_units)'

complete -c keepalive -n '__keepalive_at unit disable' -l user -d 'A unit of this user\'s own manager'
complete -c keepalive -n '__keepalive_at unit disable' -l root -x -a '(__fish_complete_directories)' -d 'Units of the system in this directory'
complete -c keepalive -n '__keepalive_at unit disable' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at unit disable' -f -a '(__keepalive_units)'

complete -c keepalive -n '__keepalive_at unit status' -l user -d 'A unit of this user\'s own manager'
complete -c keepalive -n '__keepalive_at unit status' -l root -x -a '(__fish_complete_directories)' -d 'Units of the system in this directory'
complete -c keepalive -n '__keepalive_at unit status' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at unit status' -f -a '(__keepalive_units)'

complete -c keepalive -n '__keepalive_at list' -l program -x -a '(__fish_complete_proc)' -d 'The processes of this name'
complete -c keepalive -n '__keepalive_at list' -l listening -d 'Only sockets that listen'
complete -c keepalive -n '__keepalive_at list' -l port -x -d 'Only sockets with this port, at either end'
complete -c keepalive -n '__keepalive_at list' -l off -d 'Only sockets without keepalive'
complete -c keepalive -n '__keepalive_at list' -l json -d 'Print a JSON array'
complete -c keepalive -n '__keepalive_at list' -l watch -d 'Show it anew every second, until the processes that were named have ended'
complete -c keepalive -n '__keepalive_at list' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at list' -f -a '(__fish_complete_pids)'

complete -c keepalive -n '__keepalive_at probe' -l max -x -d 'The longest idle time to try, 10 seconds to 9 hours'
complete -c keepalive -n '__keepalive_at probe' -l precision -x -d 'How exactly the timeout is to be known, 1% to 50% of it'
complete -c keepalive -n '__keepalive_at probe' -l parallel -x -d 'Connections at a time, 2 to 64'
complete -c keepalive -n '__keepalive_at probe' -l no-verify -d 'Do not check at the end that keepalive cures it'
complete -c keepalive -n '__keepalive_at probe' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at probe' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at doctor' -l pid -x -a '(__fish_complete_pids)' -d 'A running process'
complete -c keepalive -n '__keepalive_at doctor' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at doctor' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_in doctor' -x -a '(__keepalive_command)'

complete -c keepalive -n '__keepalive_at explain' -l for -x -a "connect accept" -d 'The connection'
complete -c keepalive -n '__keepalive_at explain' -l program -r -F -d 'The program\'s name'
complete -c keepalive -n '__keepalive_at explain' -l json -d 'Print a JSON object'
complete -c keepalive -n '__keepalive_at explain' -l idle -x -d 'Idle time before the first probe'
complete -c keepalive -n '__keepalive_at explain' -l interval -x -d 'Time between probes that are not answered'
complete -c keepalive -n '__keepalive_at explain' -l count -x -d 'Unanswered probes that end the connection'
complete -c keepalive -n '__keepalive_at explain' -l user-timeout -x -d 'How long sent data may stay unacknowledged'
complete -c keepalive -n '__keepalive_at explain' -l mode -x -a "fill\t'the program' cap\t'the shorter' floor\t'the longer' enforce\t'this policy'" -d 'Who wins when the program sets keepalive itself'
complete -c keepalive -n '__keepalive_at explain' -l preset -x -a "aws-nat\t'AWS NAT gateway, VPC interface endpoint (not settable)' aws-nlb\t'AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)' aws-gwlb\t'AWS Gateway Load Balancer (60 to 6000 s and RST settable)' aws-ec2\t'security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)' aws-nfw\t'AWS Network Firewall (60 to 6000 s settable)' azure\t'Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)' gcp\t'Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor\'s own settings' oci-nlb\t'Oracle Cloud Network Load Balancer (settable)' ipvs\t'Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)' swarm\t'virtual address of a Docker Swarm service' fw-1h\t'Cisco ASA, FortiGate, Palo Alto (settable)' home\t'home routers (the shortest of 34 measured; their mean is over six hours)' mobile\t'mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery' default\t'unknown path: short enough for every middlebox here'" -d 'The timings for a middlebox, as \'keepalive presets\' lists them'
complete -c keepalive -n '__keepalive_at explain' -l rule -x -d 'A rule, as in \'connect 10.0.0.0/8:5432 idle=30s\' or \'program sshd off\''
complete -c keepalive -n '__keepalive_at explain' -l config -r -F -d 'A file of rules to read instead of /etc/keepalive.conf'
complete -c keepalive -n '__keepalive_at explain' -s h -l help -d 'Print help'

complete -c keepalive -n '__keepalive_at check' -s h -l help -d 'Print help'
complete -c keepalive -n '__keepalive_at check' -F

complete -c keepalive -n '__keepalive_at presets' -l json -d 'Print JSON'
complete -c keepalive -n '__keepalive_at presets' -s h -l help -d 'Print help'
