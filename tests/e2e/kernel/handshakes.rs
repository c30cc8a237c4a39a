//! Every way in which a connection is established: both ends have the settings, and a rule for the program matches
//! both.

use super::{OWN_NETWORK, printed, run};
use crate::support::PYTHON;

/// Prints a line for each way, with the options of the connecting and the accepting end.
const SCRIPT: &str = "
import socket
OPTIONS = ((1, 9), (6, 4), (6, 5), (6, 6), (6, 18))
def show(what, *ends):
    print(what, *(' '.join(str(end.getsockopt(*option)) for option in OPTIONS) for end in ends), sep=': ')
def sysctl(name, value):
    open('/proc/sys/net/ipv4/' + name, 'w').write(str(value))
def pair(listener, port=None):
    client = socket.create_connection(('127.0.0.1', listener.getsockname()[1]))
    client.send(b'x')
    return client, listener.accept()[0]
def listen(host='127.0.0.1', family=2, **more):
    return socket.create_server((host, 0), family=family, **more)
show('plain', *pair(listen()))
show('any address', *pair(listen('0.0.0.0')))
show('mapped', *pair(listen('::', 10, dualstack_ipv6=True)))
show('shared port', *pair(listen(reuse_port=True)))
# The kernel keeps nothing of the handshake but a number in the client's packets.
sysctl('tcp_syncookies', 2)
show('cookies', *pair(listen()))
sysctl('tcp_syncookies', 1)
listener = listen()
listener.setsockopt(6, 9, 5)
show('deferred', *pair(listener))
# Data in the SYN, so that the server may answer before the handshake is over.
sysctl('tcp_fastopen', 1543)
listener = listen()
client = socket.socket()
client.sendto(b'x', 0x20000000, listener.getsockname())
show('fast open', client, listener.accept()[0])
# Both ends send a SYN: here they are the same socket.
end = socket.socket()
end.bind(('127.0.0.1', 7001))
end.connect(('127.0.0.1', 7001))
show('with itself', end)
# A checkpoint that is restored (CRIU): without any packet.
listener = listen()
end = socket.socket()
end.setsockopt(6, 19, 1)
end.bind(('127.0.0.1', 7002))
end.connect(('127.0.0.1', 7003))
end.setsockopt(6, 19, 0)
show('restored', end)
";

#[test]
fn every_kind_of_established_connection_is_set() {
    kernel!();
    python!();
    let rule = "program python3 idle=61 interval=13 count=4 user-timeout=auto";
    for (flags, has) in [
        (["--rule", rule], "1 61 13 4 113000"),
        (["--mode", "enforce"], "1 61 13 4 0"),
        (["--rule", "program python3 off"], "0 7200 75 9 0"),
    ] {
        let mut command = run(&flags);
        let lines = printed(command.args(OWN_NETWORK).args([PYTHON, "-IS", "-c", SCRIPT]));
        assert_eq!(lines.lines().count(), 9, "{lines}");
        for line in lines.lines() {
            let (_, ends) = line.split_once(": ").expect("a name");
            assert!(ends.split(": ").all(|end| end == has), "{flags:?}: {line}, not {has}");
        }
    }
}
