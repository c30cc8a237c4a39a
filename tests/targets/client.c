// Connects to a port of loopback by calls of the C library alone, prints "connected", and waits until standard input ends.
// usage: client PORT
// -DRAW: by its own system calls. -DMODULE -shared: a library that does it when it is loaded, with the port in PORT.
#include "raw.h"

#include <stdlib.h>

#ifdef RAW
#define SOCKET(domain, type) raw(SYS_socket, domain, type, 0, 0, 0)
#define CONNECT(fd, address, length) raw(SYS_connect, fd, (long)(address), length, 0, 0)
#else
#define SOCKET(domain, type) socket(domain, type, 0)
#define CONNECT(fd, address, length) connect(fd, address, length)
#endif

static int hold(const char *port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = SOCKET(AF_INET, SOCK_STREAM);
    if (fd < 0 || CONNECT(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return 1;
    if (write(1, "connected\n", 10) != 10)
        return 1;
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}

#ifdef MODULE
__attribute__((constructor)) static void start(void) {
    exit(hold(getenv("PORT")));
}
#else
int main(int count, char **words) {
    return count == 2 ? hold(words[1]) : 2;
}
#endif
