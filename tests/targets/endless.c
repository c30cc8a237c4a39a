// The first process of a pid namespace, below which processes start others without end: one chain whose only process is
// always another one, and children that live for some milliseconds.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static void chain(void) {
    for (;;) {
        usleep(300);
        if (fork() != 0)
            _exit(0);
    }
}

int main(void) {
    // Whoever ends is gone at once, also the orphans.
    signal(SIGCHLD, SIG_IGN);
    socket(AF_INET, SOCK_STREAM, 0);
    if (fork() == 0)
        chain();
    write(STDOUT_FILENO, "ready\n", 6);
    for (;;) {
        usleep(1000);
        if (fork() == 0) {
            usleep(20000);
            _exit(0);
        }
    }
}
