// The same as ends.py, under node.
const net = require("net");

const server = net.createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1", () => {
    const client = net.connect(Number(process.argv[2]), "127.0.0.1", () => console.log(server.address().port));
    client.pipe(client);
});
