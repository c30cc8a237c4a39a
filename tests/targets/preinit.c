// Makes calls before the constructors of all libraries, as the runtime of Clang's safe stack does, and prints the
// options of a socket of main.
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int early_socket = -1;

static void early(void) {
    syscall(SYS_getpid);
    early_socket = socket(AF_INET, SOCK_STREAM, 0);
}

__attribute__((section(".preinit_array"), used)) static void (*const EARLY)(void) = early;

int main(void) {
    static const int options[][2] = {
        {SOL_SOCKET, SO_KEEPALIVE}, {IPPROTO_TCP, TCP_KEEPIDLE},     {IPPROTO_TCP, TCP_KEEPINTVL},
        {IPPROTO_TCP, TCP_KEEPCNT}, {IPPROTO_TCP, TCP_USER_TIMEOUT},
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (early_socket < 0 || fd < 0)
        return 1;
    for (int i = 0; i < 5; i++) {
        int value = -1;
        socklen_t length = sizeof value;
        if (getsockopt(fd, options[i][0], options[i][1], &value, &length) != 0)
            return 1;
        printf(i == 0 ? "%d" : " %d", value);
    }
    puts("");
}
