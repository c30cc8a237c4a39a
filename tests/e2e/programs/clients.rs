//! How each client is started.

use super::start::Start;

const PYTHON: &str = "/usr/bin/python3";

pub const CURL: Start = Start::client(&["curl", "-s", "http://127.0.0.1:@PORT@/"]);
pub const CURL_TIME: Start = Start::client(&["curl", "-s", "--keepalive-time", "33", "http://127.0.0.1:@PORT@/"]);
pub const WGET: Start = Start::client(&["wget", "-q", "-O", "-", "http://127.0.0.1:@PORT@/"]);
pub const GIT_HTTP: Start = Start::client(&["git", "ls-remote", "http://127.0.0.1:@PORT@/repository"]);
pub const GIT: Start = Start::client(&["git", "ls-remote", "git://127.0.0.1:@PORT@/repository"]);
pub const SSH: Start = Start::client(&[
    "ssh",
    "-F/dev/null",
    "-oUserKnownHostsFile=/dev/null",
    "-oStrictHostKeyChecking=no",
    "-p@PORT@",
    "somebody@127.0.0.1",
]);
pub const SFTP: Start = Start::client(&[
    "sftp",
    "-F/dev/null",
    "-oUserKnownHostsFile=/dev/null",
    "-P@PORT@",
    "somebody@127.0.0.1",
])
.also(&["ssh"]);
pub const PSQL: Start = Start::client(&["psql", "host=127.0.0.1 port=@PORT@ user=somebody dbname=some"]);
pub const PSQL_IDLE: Start = Start::client(&[
    "psql",
    "host=127.0.0.1 port=@PORT@ user=somebody dbname=some keepalives_idle=77",
]);
pub const MARIADB: Start = Start::client(&[
    "mariadb",
    "--no-defaults",
    "--protocol=tcp",
    "--host=127.0.0.1",
    "--port=@PORT@",
]);
pub const REDIS_CLI: Start = Start::client(&["redis-cli", "-p", "@PORT@", "ping"]);
pub const LDAPSEARCH: Start = Start::client(&["ldapsearch", "-x", "-H", "ldap://127.0.0.1:@PORT@"]);
pub const LFTP: Start = Start::client(&["lftp", "-c", "open ftp://127.0.0.1:@PORT@; ls"]);
pub const IRSSI: Start = Start::client(&[
    "script",
    "--quiet",
    "--flush",
    "--command",
    "irssi --home=@HOME@/irssi --connect=127.0.0.1 --port=@PORT@",
    "/dev/null",
])
.also(&["irssi"]);
pub const NC: Start = Start::client(&["nc.openbsd", "127.0.0.1", "@PORT@"]);
pub const SOCAT: Start = Start::client(&["socat", "STDIO", "TCP:127.0.0.1:@PORT@"]);
pub const SOCAT_KEEPCNT: Start = Start::client(&["socat", "STDIO", "TCP:127.0.0.1:@PORT@,so-keepalive,keepcnt=7"]);
pub const TELNET: Start = Start::client(&["telnet", "127.0.0.1", "@PORT@"]);
pub const RSYNC: Start = Start::client(&["rsync", "rsync://127.0.0.1:@PORT@/"]);
pub const OPENSSL: Start = Start::client(&["openssl", "s_client", "-connect", "127.0.0.1:@PORT@"]);
pub const MOSQUITTO_SUB: Start = Start::client(&["mosquitto_sub", "-p", "@PORT@", "-t", "topic"]);
pub const DIG: Start = Start::client(&[
    "dig",
    "@127.0.0.1",
    "-p",
    "@PORT@",
    "+tcp",
    "+tries=1",
    "+timeout=60",
    "example.org",
]);
pub const LINKS: Start = Start::client(&["links", "-dump", "http://127.0.0.1:@PORT@/"]);
pub const LYNX: Start = Start::client(&["lynx", "-dump", "http://127.0.0.1:@PORT@/"]);
pub const W3M: Start = Start::client(&["w3m", "-dump", "http://127.0.0.1:@PORT@/"]);
pub const ARIA2C: Start = Start::client(&["aria2c", "--no-conf", "http://127.0.0.1:@PORT@/file"]);
pub const APT: Start = Start::client(&[
    "/usr/lib/apt/apt-helper",
    "-oAcquire::http::Proxy=false",
    "download-file",
    "http://127.0.0.1:@PORT@/file",
    "@HOME@/file",
]);
pub const BASH: Start = Start::client(&["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/@PORT@; read line <&3"]);
pub const GAWK: Start = Start::client(&["gawk", "BEGIN { \"/inet/tcp/0/127.0.0.1/@PORT@\" |& getline }"]);
pub const TCLSH: Start = Start::client(&["tclsh", "client.tcl"])
    .files(&[("client.tcl", "set channel [socket 127.0.0.1 @PORT@]\ngets $channel\n")]);

pub const PYTHON_SOCKET: Start = Start::client(&[
    PYTHON,
    "-c",
    "import socket; socket.create_connection(('127.0.0.1', @PORT@)).recv(1)",
]);
pub const PYTHON_URLLIB: Start = Start::client(&[
    PYTHON,
    "-c",
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:@PORT@/')",
]);
pub const PYTHON_ASYNCIO: Start = Start::client(&[PYTHON, "client.py"]).files(&[(
    "client.py",
    "import asyncio

async def main():
    reader, writer = await asyncio.open_connection('127.0.0.1', @PORT@)
    await reader.read(1)

asyncio.run(main())
",
)]);
pub const PYTHON_PSYCOPG2: Start = Start::client(&[
    PYTHON,
    "-c",
    "import psycopg2; psycopg2.connect('host=127.0.0.1 port=@PORT@ user=somebody dbname=some')",
])
.also(&["/usr/lib/python3/dist-packages/psycopg2/__init__.py"]);
pub const ERLANG: Start = Start::client(&[
    "erl",
    "-noshell",
    "-noinput",
    "-eval",
    "{ok, _} = gen_tcp:connect(\"127.0.0.1\", @PORT@, []), receive never -> ok end.",
]);
pub const PERL: Start = Start::client(&[
    "perl",
    "-MIO::Socket::INET",
    "-e",
    "IO::Socket::INET->new('127.0.0.1:@PORT@')->getline",
]);
pub const RUBY: Start = Start::client(&["ruby", "-rsocket", "-e", "TCPSocket.new('127.0.0.1', @PORT@).gets"]);
pub const RUBY_NET_HTTP: Start = Start::client(&[
    "ruby",
    "-rnet/http",
    "-e",
    "Net::HTTP.get(URI('http://127.0.0.1:@PORT@/'))",
]);
pub const PHP: Start = Start::client(&["php", "-r", "fgets(fsockopen('127.0.0.1', @PORT@));"]);
pub const LUA: Start = Start::client(&[
    "lua5.4",
    "-e",
    "require('socket').connect('127.0.0.1', @PORT@):receive()",
]);

pub const NODE_NET: Start = Start::client(&["node", "-e", "require('net').connect(@PORT@, '127.0.0.1')"]);
/// The pool switches keepalive on when it puts the idle connection away.
pub const NODE_HTTP: Start = Start::client(&[
    "node",
    "-e",
    "const http = require('http');
     const agent = new http.Agent({ keepAlive: true });
     http.get({ host: '127.0.0.1', port: @PORT@, agent }, answer => answer.resume());
     process.stdin.resume()",
])
.http();
/// Node 18 left its sockets alone.
pub const NODE_FETCH: Start = Start::client(&["node", "-e", "fetch('http://127.0.0.1:@PORT@/')"]).since(20);

pub const JAVA_SOCKET: Start = Start::client(&["java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "Client.java"])
    .files(&[(
        "Client.java",
        "class Client {
             public static void main(String[] arguments) throws Exception {
                 new java.net.Socket(\"127.0.0.1\", @PORT@).getInputStream().read();
             }
         }",
    )]);
pub const JAVA_NIO: Start = Start::client(&["java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "Client.java"])
    .files(&[(
        "Client.java",
        "class Client {
             public static void main(String[] arguments) throws Exception {
                 var address = new java.net.InetSocketAddress(\"127.0.0.1\", @PORT@);
                 java.nio.channels.SocketChannel.open(address).read(java.nio.ByteBuffer.allocate(1));
             }
         }",
    )]);
pub const JAVA_HTTP: Start = Start::client(&["java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "Client.java"])
    .files(&[(
        "Client.java",
        "import java.net.http.*;
         class Client {
             public static void main(String[] arguments) throws Exception {
                 var request = HttpRequest.newBuilder(java.net.URI.create(\"http://127.0.0.1:@PORT@/\")).build();
                 HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
                 System.in.read();
             }
         }",
    )])
    .http();
/// Sets its own values, some before and some after it connects.
pub const JAVA_OPTIONS: Start = Start::client(&["java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "Client.java"])
    .files(&[(
        "Client.java",
        "import jdk.net.ExtendedSocketOptions;
         class Client {
             public static void main(String[] arguments) throws Exception {
                 var socket = new java.net.Socket();
                 socket.setKeepAlive(true);
                 socket.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, 45);
                 socket.connect(new java.net.InetSocketAddress(\"127.0.0.1\", @PORT@));
                 socket.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, 7);
                 socket.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, 9);
                 socket.getInputStream().read();
             }
         }",
    )]);
