// The same as ends.py, for Java: a thread for each connection.
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;

class Ends {
    static void echo(Socket socket) {
        new Thread(() -> {
            try {
                socket.getInputStream().transferTo(socket.getOutputStream());
            } catch (java.io.IOException error) {
                System.err.println(error);
            }
        }).start();
    }

    public static void main(String[] arguments) throws Exception {
        var loopback = InetAddress.getByName("127.0.0.1");
        var server = new ServerSocket(0, 1, loopback);
        echo(new Socket(loopback, Integer.parseInt(arguments[0])));
        System.out.println(server.getLocalPort());
        while (true) echo(server.accept());
    }
}
