//! How each server is started.

use super::start::Start;
use rustix::process::Signal;

const PYTHON: &str = "/usr/bin/python3";
const HALF_A_REQUEST: &str = "GET / HTTP/1.1\r\n";

/// The master wipes its environment before it starts its workers.
pub const NGINX: Start = Start::relay(&["nginx", "-e", "@HOME@/error.log", "-c", "@HOME@/nginx.conf"])
    .files(&[(
        "nginx.conf",
        "daemon off;
         pid @HOME@/pid;
         events {}
         http {
             access_log off;
             client_body_temp_path @HOME@;
             proxy_temp_path @HOME@;
             fastcgi_temp_path @HOME@;
             uwsgi_temp_path @HOME@;
             scgi_temp_path @HOME@;
             server { listen 127.0.0.1:@PORT@; location / { proxy_pass http://127.0.0.1:@PEER@; } }
         }",
    )])
    .say("GET / HTTP/1.0\r\n\r\n");
/// Sets its listener, and leaves the interval open.
pub const NGINX_TIMED: Start = Start::server(&["nginx", "-e", "@HOME@/error.log", "-c", "@HOME@/nginx.conf"])
    .files(&[(
        "nginx.conf",
        "daemon off;
         pid @HOME@/pid;
         events {}
         http {
             access_log off;
             client_body_temp_path @HOME@;
             proxy_temp_path @HOME@;
             fastcgi_temp_path @HOME@;
             uwsgi_temp_path @HOME@;
             scgi_temp_path @HOME@;
             server { listen 127.0.0.1:@PORT@ so_keepalive=77s::5; }
         }",
    )])
    .ready("@HOME@/pid")
    .say(HALF_A_REQUEST);
/// The children of the prefork module accept.
pub const APACHE: Start = Start::server(&["apache2", "-DFOREGROUND", "-d", "@HOME@", "-f", "apache.conf"])
    .files(&[(
        "apache.conf",
        "ServerName localhost
         Listen 127.0.0.1:@PORT@
         Mutex fcntl:@HOME@
         PidFile @HOME@/pid
         ErrorLog @HOME@/error.log
         LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
         LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
         StartServers 2
        ",
    )])
    .say(HALF_A_REQUEST);
pub const LIGHTTPD: Start = Start::server(&["lighttpd", "-D", "-f", "@HOME@/lighttpd.conf"])
    .files(&[(
        "lighttpd.conf",
        "server.document-root = \"@HOME@\"\nserver.bind = \"127.0.0.1\"\nserver.port = @PORT@\n",
    )])
    .say(HALF_A_REQUEST);
pub const HAPROXY: Start = Start::relay(&["haproxy", "-db", "-f", "haproxy.cfg"]).files(&[(
    "haproxy.cfg",
    "defaults
         mode tcp
         timeout connect 60s
         timeout client 60s
         timeout server 60s
     listen relay
         bind 127.0.0.1:@PORT@
         server peer 127.0.0.1:@PEER@\n",
)]);
pub const HAPROXY_TCPKA: Start = Start::relay(&["haproxy", "-db", "-f", "haproxy.cfg"]).files(&[(
    "haproxy.cfg",
    "defaults
         mode tcp
         option tcpka
         timeout connect 60s
         timeout client 60s
         timeout server 60s
     listen relay
         bind 127.0.0.1:@PORT@
         server peer 127.0.0.1:@PEER@\n",
)]);
pub const TINYPROXY: Start = Start::relay(&["tinyproxy", "-d", "-c", "tinyproxy.conf"])
    .files(&[("tinyproxy.conf", "Port @PORT@\nListen 127.0.0.1\nTimeout 60\n")])
    .say("CONNECT 127.0.0.1:@PEER@ HTTP/1.0\r\n\r\n");
/// Takes plain connections and makes TLS ones, one thread for each.
pub const STUNNEL: Start = Start::relay(&["stunnel", "stunnel.conf"]).files(&[(
    "stunnel.conf",
    "foreground = yes
     pid =
     [relay]
     client = yes
     accept = 127.0.0.1:@PORT@
     connect = 127.0.0.1:@PEER@
    ",
)]);
/// One child for each connection.
pub const SOCAT: Start = Start::relay(&[
    "socat",
    "TCP-LISTEN:@PORT@,bind=127.0.0.1,reuseaddr,fork",
    "TCP:127.0.0.1:@PEER@",
]);

pub const REDIS: Start = Start::server(&["redis-server", "--port", "@PORT@", "--bind", "127.0.0.1", "--save", ""]);
pub const MEMCACHED: Start = Start::server(&["memcached", "-l", "127.0.0.1", "-p", "@PORT@", "-U", "0"]);
/// Ended by a signal that lets it remove its System V shared memory.
pub const POSTGRES: Start = Start::server(&[
    "postgres",
    "-D@HOME@/data",
    "-p@PORT@",
    "-clisten_addresses=127.0.0.1",
    "-cunix_socket_directories=",
    "-cdynamic_shared_memory_type=mmap",
])
.prepare(&[&["initdb", "--pgdata=@HOME@/data", "--no-sync", "--auth=trust"]])
.ended_by(Signal::QUIT);
pub const MARIADBD: Start = Start::server(&[
    "mariadbd",
    "--no-defaults",
    "--skip-grant-tables",
    "--datadir=@HOME@",
    "--socket=@HOME@/socket",
    "--pid-file=@HOME@/pid",
    "--bind-address=127.0.0.1",
    "--port=@PORT@",
]);
pub const MOSQUITTO: Start = Start::server(&["mosquitto", "-c", "mosquitto.conf"])
    .files(&[("mosquitto.conf", "listener @PORT@ 127.0.0.1\nallow_anonymous true\n")]);
pub const SLAPD: Start = Start::server(&["slapd", "-d0", "-hldap://127.0.0.1:@PORT@", "-fslapd.conf"])
    .files(&[("slapd.conf", "pidfile @HOME@/pid\ndatabase config\n")]);
/// One child for each TCP connection.
pub const DNSMASQ: Start = Start::server(&[
    "dnsmasq",
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--port=@PORT@",
    "--listen-address=127.0.0.1",
    "--bind-interfaces",
    "--no-resolv",
    "--no-hosts",
    "--pid-file=",
]);

/// Runs itself again for each connection.
pub const SSHD: Start = Start::server(&[
    "sshd",
    "-D",
    "-e",
    "-f/dev/null",
    "-h@HOME@/key",
    "-p@PORT@",
    "-oListenAddress=127.0.0.1",
    "-oPidFile=none",
])
.prepare(&[&["ssh-keygen", "-q", "-ted25519", "-N", "", "-f@HOME@/key"]]);
pub const RSYNC: Start = Start::server(&[
    "rsync",
    "--daemon",
    "--no-detach",
    "--port=@PORT@",
    "--address=127.0.0.1",
    "--config=@HOME@/rsyncd.conf",
])
.files(&[("rsyncd.conf", "use chroot = no\n")]);
/// One child for each connection, and another one for each login; it wants root.
pub const VSFTPD: Start = Start::server(&["vsftpd", "@HOME@/vsftpd.conf"])
    .files(&[(
        "vsftpd.conf",
        "listen=YES\nlisten_address=127.0.0.1\nlisten_port=@PORT@\nbackground=NO\nsecure_chroot_dir=@HOME@\n",
    )])
    .as_root();
/// The same, in a sandbox that Debian leaves off because it forbids what today's libc does to list a directory.
pub const VSFTPD_SANDBOXED: Start = Start {
    command: &["vsftpd", "@HOME@/vsftpd.conf", "-oseccomp_sandbox=YES"],
    ..VSFTPD
};
pub const GIT_DAEMON: Start = Start::server(&[
    "git",
    "daemon",
    "--reuseaddr",
    "--listen=127.0.0.1",
    "--port=@PORT@",
    "--base-path=@HOME@",
]);
/// Accepts, then starts the service with an environment that it has laundered.
pub const INETD: Start = Start::server(&["inetd", "-i", "@HOME@/inetd.conf"])
    .files(&[("inetd.conf", "127.0.0.1:@PORT@ stream tcp nowait nobody /bin/cat cat\n")]);
/// Accepts, then starts the service with an environment of its own making.
pub const SYSTEMD_ACCEPT: Start = Start::server(&[
    "systemd-socket-activate",
    "--listen=127.0.0.1:@PORT@",
    "--accept",
    "--inetd",
    "cat",
]);
/// Hands its listener to a service that has lost the library with its environment.
pub const SYSTEMD_LISTEN: Start = Start::server(&[
    "systemd-socket-activate",
    "--listen=127.0.0.1:@PORT@",
    PYTHON,
    "@HOME@/service.py",
])
.files(&[(
    "service.py",
    "import os, socket
assert 'LD_PRELOAD' not in os.environ
socket.socket(fileno=3).accept()[0].recv(1)
",
)]);
pub const NC: Start = Start::server(&["nc.openbsd", "-l", "127.0.0.1", "@PORT@"]);
pub const OPENSSL: Start = Start::server(&["openssl", "s_server", "-nocert", "-accept", "127.0.0.1:@PORT@"]);

pub const PYTHON_HTTP: Start = Start::server(&[PYTHON, "-m", "http.server", "--bind", "127.0.0.1", "@PORT@"]);
pub const PYTHON_ASYNCIO: Start = Start::server(&[PYTHON, "server.py"]).files(&[(
    "server.py",
    "import asyncio

async def serve(reader, writer):
    await reader.read(1)

async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', @PORT@)
    await server.serve_forever()

asyncio.run(main())
",
)]);
pub const PERL: Start = Start::server(&[
    "perl",
    "-MIO::Socket::INET",
    "-e",
    "$socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1:@PORT@', Listen => 1, ReuseAddr => 1)->accept;
     fork;
     $socket->getline",
]);
pub const RUBY: Start = Start::server(&[
    "ruby",
    "-rsocket",
    "-e",
    "TCPServer.new('127.0.0.1', @PORT@).accept.gets",
]);
pub const PHP: Start = Start::server(&["php", "-S", "127.0.0.1:@PORT@", "-t", "@HOME@"]);
pub const TCLSH: Start = Start::server(&["tclsh", "server.tcl"]).files(&[(
    "server.tcl",
    "proc serve {channel address port} {}\nsocket -server serve -myaddr 127.0.0.1 @PORT@\nvwait forever\n",
)]);
/// libuv may accept by syscall(2), past every library.
pub const NODE_NET: Start = Start::server(&[
    "node",
    "-e",
    "require('net').createServer(() => {}).listen(@PORT@, '127.0.0.1')",
]);
/// The primary process accepts and hands the connection to a worker.
pub const NODE_CLUSTER: Start = Start::server(&["node", "server.js"]).files(&[(
    "server.js",
    "const cluster = require('cluster');
     if (cluster.isPrimary) cluster.fork();
     else require('net').createServer(() => {}).listen(@PORT@, '127.0.0.1')",
)]);
pub const NODE_HTTP: Start = Start::server(&[
    "node",
    "-e",
    "require('http').createServer(() => {}).listen(@PORT@, '127.0.0.1')",
])
.say(HALF_A_REQUEST);
pub const JAVA_SOCKET: Start = Start::server(&["java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "Server.java"])
    .files(&[(
        "Server.java",
        "class Server {
             public static void main(String[] arguments) throws Exception {
                 var address = java.net.InetAddress.getByName(\"127.0.0.1\");
                 new java.net.ServerSocket(@PORT@, 1, address).accept().getInputStream().read();
             }
         }",
    )]);
pub const JAVA_NIO: Start = Start::server(&["java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "Server.java"])
    .files(&[(
        "Server.java",
        "class Server {
             public static void main(String[] arguments) throws Exception {
                 var address = new java.net.InetSocketAddress(\"127.0.0.1\", @PORT@);
                 var server = java.nio.channels.ServerSocketChannel.open().bind(address);
                 server.accept().read(java.nio.ByteBuffer.allocate(1));
             }
         }",
    )]);
