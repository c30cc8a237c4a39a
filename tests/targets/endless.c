// The first process of a pid namespace, in which processes start others without end: a chain in which each process
// starts the next and ends, and children that live for some milliseconds.
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
    // Ended processes disappear immediately, also the orphans.
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
