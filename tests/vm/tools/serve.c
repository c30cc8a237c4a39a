// serve: listens at 127.0.0.1 and ::1 (where there is IPv6) on PORT, prints "ready", accepts and keeps every connection
// until the client closes it.
//
// usage: serve PORT
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1000 };

int main(int argc, char **argv) {
    static struct pollfd sockets[MOST];
    int count = 0, listeners, one = 1, port = argc == 2 ? atoi(argv[1]) : 0;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    for (int i = 0; i < 2; i++) {
        int listener = socket(i ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (listener < 0)
            continue;
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(listener, i ? (void *)&six : (void *)&four, i ? sizeof six : sizeof four) || listen(listener, 64)) {
            perror(i ? "::1" : "127.0.0.1");
            close(listener);
            continue;
        }
        sockets[count++] = (struct pollfd){.fd = listener, .events = POLLIN};
    }
    listeners = count;
    if (!listeners)
        return 1;
    puts("ready");
    fflush(stdout);
    while (poll(sockets, count, -1) >= 0) {
        for (int i = 0, known = count; i < known; i++) {
            char bytes[4096];
            if (!sockets[i].revents)
                continue;
            if (i < listeners) {
                int accepted = accept(sockets[i].fd, NULL, NULL);
                if (accepted >= 0 && count < MOST)
                    sockets[count++] = (struct pollfd){.fd = accepted, .events = POLLIN};
            } else if (read(sockets[i].fd, bytes, sizeof bytes) <= 0) {
                close(sockets[i].fd);
                sockets[i].fd = -1; // poll(2) ignores it
            }
        }
    }
    return 1;
}
