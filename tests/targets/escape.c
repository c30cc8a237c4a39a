// A hostile program of an untrusted root directory: it tries to access everything outside, and prints what succeeded on
// standard error, in one line. It leaves processes behind, and fails.
//
// Files in the root directory name the targets: /victim (a process), /port (of a listener on 127.0.0.1), /name (of an
// abstract socket), /memory (the number of a shared memory segment).

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char worked[4096];

static void note(const char *what, int is_done) {
    if (is_done) {
        strncat(worked, " ", sizeof worked - strlen(worked) - 1);
        strncat(worked, what, sizeof worked - strlen(worked) - 1);
    }
}

static void read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? 0 : read(fd, text, size - 1);
    text[length > 0 ? length : 0] = 0;
    close(fd);
}

static int number(const char *path) {
    char text[32];
    read_text(path, text, sizeof text);
    return atoi(text);
}

static int connects(int family, const void *address, socklen_t length) {
    int fd = socket(family, SOCK_STREAM, 0);
    return fd >= 0 && connect(fd, address, length) == 0;
}

static void sockets(void) {
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    inet.sin_port = htons(number("/port"));
    note("loopback", connects(AF_INET, &inet, sizeof inet));
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    read_text("/name", local.sun_path + 1, sizeof local.sun_path - 1);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(local.sun_path + 1);
    note("abstract", connects(AF_UNIX, &local, length));
    strcpy(local.sun_path, "/listener");
    note("path", connects(AF_UNIX, &local, sizeof local));
    note("vsock", socket(40, SOCK_STREAM, 0) >= 0);
    note("raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0);
    note("uring", syscall(425, 1, (char[120]){0}) >= 0);
}

static void files(void) {
    note("write", open("/escaped", O_CREAT | O_WRONLY, 0600) >= 0);
    note("replace", open("/bin/true", O_WRONLY) >= 0);
    note("mkdir", mkdir("/made", 0700) == 0);
    note("remove", unlink("/victim") == 0);
    note("mknod", mknod("/device", S_IFCHR | 0600, 1 << 8 | 3) == 0);
    note("device", open("/null", O_RDWR) >= 0);
    note("proc", access("/proc/1/root/etc", F_OK) == 0);
    note("mount", mount("none", "/tmp", "proc", 0, "") == 0);
    note("remount", mount("none", "/", "", MS_REMOUNT | MS_BIND, "") == 0);
    note("chroot", chroot("/lib") == 0);
    for (int up = 0; up < 40; up++)
        if (chdir(".."))
            break;
    note("etc", access("etc/passwd", F_OK) == 0 || access("/etc/passwd", F_OK) == 0);
    note("tty", open("/dev/tty", O_RDWR) >= 0);
}

static void processes(void) {
    int victim = number("/victim");
    note("signal", kill(victim, SIGTERM) == 0);
    note("parent", kill(getppid(), SIGKILL) == 0 && getppid() != 1);
    note("trace", ptrace(PTRACE_ATTACH, victim, 0, 0) == 0 || ptrace(PTRACE_ATTACH, 1, 0, 0) == 0);
    note("pidfd", syscall(434, victim, 0) >= 0);
    note("group", getpgrp() == 0 || tcgetpgrp(0) > 0);
}

static void descriptors(void) {
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            char name[32];
            snprintf(name, sizeof name, "fd%d", fd);
            note(name, 1);
        }
    for (int fd = 0; fd < 3; fd++) {
        struct stat about;
        note("stream", fstat(fd, &about) || !S_ISFIFO(about.st_mode));
        note("push", ioctl(fd, TIOCSTI, "x") == 0);
    }
}

static void privileges(void) {
    note("root", getuid() == 0 || geteuid() == 0 || getgid() == 0 || getgroups(0, 0) > 0);
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {0};
    syscall(SYS_capget, &head, data);
    note("capabilities", data[0].permitted | data[0].effective | data[1].permitted);
    note("setuid", setuid(0) == 0);
    note("users", unshare(CLONE_NEWUSER) == 0);
    int status = 0, pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    note("clone", pid > 0);
    note("keyring", syscall(SYS_keyctl, 0, -3, 0) >= 0);
    note("key", syscall(SYS_request_key, "user", "keepalive:test", 0, -3) >= 0);
    struct shmid_ds about;
    note("memory", shmctl(number("/memory"), IPC_STAT, &about) == 0 || errno == EACCES);
    note("name", sethostname("mine", 4) == 0);
    struct rlimit core = {0, 0};
    note("core", setrlimit(RLIMIT_CORE, &core) == 0);
    struct rlimit large = {1 << 20, 1 << 20};
    note("limit", prlimit(0, RLIMIT_NPROC, &large, 0) == 0);
    if ((pid = fork()) == 0) {
        execl("/suid", "suid", (char *)0);
        _exit(0);
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid)
        note("suid", WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

// Leaves processes behind, outside of session and group, that ignore signals and keep the pipes.
static void stay(void) {
    int made = 0;
    for (; made < 64; made++) {
        int pid = fork();
        if (pid < 0)
            break;
        if (pid == 0) {
            setsid();
            for (int number = 1; number < 65; number++)
                signal(number, SIG_IGN);
            signal(SIGALRM, SIG_DFL);
            alarm(30);
            for (;;)
                pause();
        }
    }
    note("processes", made > 16);
}

int main(int argc, char **argv) {
    (void)argc;
    if (strstr(argv[0], "suid"))
        return geteuid() == 0 ? 9 : 0;
#ifdef FLOOD
    for (;;)
        if (write(1, worked, sizeof worked) < 0 && write(2, worked, sizeof worked) < 0)
            return 0;
#endif
    alarm(30);
    descriptors();
    privileges();
    files();
    sockets();
    processes();
    stay();
#ifdef HANG
    close(0), close(1), close(2);
    for (;;)
        pause();
#endif
    dprintf(2, "worked:%s.\n", worked);
    return 3;
}
