// ends: makes a TCP connection to itself and prints the options of both ends.
//
// usage: ends [WORD...]
//   6 | mptcp           over IPv6; MPTCP instead of TCP
//   at=ADDRESS          the server's address instead of 127.0.0.1 or ::1
//   port=NUMBER         the server's port instead of a free one
//   listen:OPTION=N     set on the listener before listen(2)
//   before:OPTION=N     set on the client before connect(2)
//   after:OPTION=N      set on the client after connect(2)
//   accepted:OPTION=N   set on the accepted socket
//   forget              the server closes its end without a packet
//   stay                stay until the end of standard input, whose bytes the client sends
// Prints "client KEEPALIVE IDLE INTERVAL COUNT USER-TIMEOUT, server ...", both as getsockopt(2) returns them.
#include "options.h"
#include <arpa/inet.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

// Sets what "OPTION=NUMBER" names. A word that names no option ends the program.
static void set_value(int socket, const char *word) {
    const char *equals = strchr(word, '=');
    for (int i = 0; equals && i < OPTION_COUNT; i++) {
        size_t length = strlen(OPTIONS[i].name);
        if (length != (size_t)(equals - word) || strncmp(word, OPTIONS[i].name, length))
            continue;
        int value = atoi(equals + 1);
        if (setsockopt(socket, OPTIONS[i].level, OPTIONS[i].number, &value, sizeof value))
            perror(word);
        return;
    }
    fprintf(stderr, "unknown option: %s\n", word);
    exit(2);
}

static void set_all(int socket, char **words, const char *when) {
    for (size_t length = strlen(when); *words; words++)
        if (!strncmp(*words, when, length))
            set_value(socket, *words + length);
}

int main(int argc, char **argv) {
    int family = AF_INET, protocol = IPPROTO_TCP, port = 0, stay = 0, forgets = 0;
    const char *address = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "6"))
            family = AF_INET6;
        else if (!strcmp(argv[i], "mptcp"))
            protocol = 262;
        else if (!strncmp(argv[i], "at=", 3))
            address = argv[i] + 3;
        else if (!strncmp(argv[i], "port=", 5))
            port = atoi(argv[i] + 5);
        else if (!strcmp(argv[i], "stay"))
            stay = 1;
        else if (!strcmp(argv[i], "forget"))
            forgets = 1;
        else if (!strchr(argv[i], ':'))
            return fprintf(stderr, "ends: unknown word: %s\n", argv[i]), 2;
    }
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } at = {0};
    socklen_t size = family == AF_INET ? sizeof at.four : sizeof at.six;
    at.any.sa_family = family;
    at.four.sin_port = htons(port); // sin6_port is at the same offset
    void *bytes = family == AF_INET ? (void *)&at.four.sin_addr : (void *)&at.six.sin6_addr;
    if (inet_pton(family, address ? address : family == AF_INET ? "127.0.0.1" : "::1", bytes) != 1)
        return fprintf(stderr, "ends: not an address: %s\n", address), 2;

    int listener = socket(family, SOCK_STREAM, protocol), client = socket(family, SOCK_STREAM, protocol), one = 1;
    if (listener < 0 || client < 0)
        return fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, &at.any, size))
        return fail("bind");
    set_all(listener, argv + 1, "listen:");
    if (listen(listener, 1) || getsockname(listener, &at.any, &size))
        return fail("listen");
    set_all(client, argv + 1, "before:");
    if (connect(client, &at.any, size))
        return fail("connect");
    int server = accept(listener, NULL, NULL);
    if (server < 0)
        return fail("accept");
    set_all(client, argv + 1, "after:");
    set_all(server, argv + 1, "accepted:");
    printf("client ");
    print_values(client);
    printf(", server ");
    print_values(server);
    puts("");
    fflush(stdout);
    if (forgets) {
        if (setsockopt(server, IPPROTO_TCP, TCP_REPAIR, &one, sizeof one))
            return fail("TCP_REPAIR");
        close(server);
    }
    for (char byte; stay && read(0, &byte, 1) == 1;)
        send(client, &byte, 1, MSG_NOSIGNAL);
    return 0;
}
