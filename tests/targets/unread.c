// Runs a command with a standard error that is not read. When the command has ended, it reads the output, prints how
// the command ended and the number of complete and of other log lines. Then it repeats this.
// usage: unread KIND COMMAND [ARG...]
//
//   terminal stopped pipe fifo stream packets     a terminal, one that was stopped (^S), a pipe, a FIFO, local sockets
//   full-pipe half-pipe                           a full pipe, one whose last page has space for half a line
//   file                                          a file of a stopped FUSE server; its content is not read
//   files                                         the same as standard input and output too
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 20 };

// The command's standard error, and its other end.
static int error, reader = -1;
static int is_whole_standard;

static void fail(const char *what) {
    perror(what);
    exit(77);
}

static void terminal(void) {
    reader = posix_openpt(O_RDWR | O_NOCTTY);
    if (reader < 0 || grantpt(reader) < 0 || unlockpt(reader) < 0)
        fail("terminal");
    error = open(ptsname(reader), O_RDWR | O_NOCTTY);
}

// Nonblocking for a moment: no other process uses this pipe yet.
static void fill(int fd, size_t size) {
    static char bytes[4096];
    memset(bytes, '.', sizeof bytes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, bytes, size) > 0)
        ;
    fcntl(fd, F_SETFL, 0);
}

static void answer(int fuse, const struct fuse_in_header *in, const void *body, size_t length, int failure) {
    char message[512];
    struct fuse_out_header out = {.len = sizeof out + length, .error = failure, .unique = in->unique};
    memcpy(message, &out, sizeof out);
    if (length)
        memcpy(message + sizeof out, body, length);
    if (write(fuse, message, out.len) < 0)
        perror("answer");
}

// Serves one directory with one file. Answers must not be cached: each request is sent again.
static void serve(int fuse) {
    static char buffer[1 << 20];
    for (;;) {
        ssize_t length = read(fuse, buffer, sizeof buffer);
        if (length < (ssize_t)sizeof(struct fuse_in_header))
            _exit(0);
        struct fuse_in_header *in = (void *)buffer;
        struct fuse_attr file = {.ino = 2, .mode = S_IFREG | 0666, .nlink = 1}, root = {.ino = 1, .mode = S_IFDIR | 0777, .nlink = 2};
        switch (in->opcode) {
        case FUSE_INIT: {
            struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 4096, .max_background = 1};
            answer(fuse, in, &init, sizeof init, 0);
            break;
        }
        case FUSE_LOOKUP: {
            struct fuse_entry_out entry = {.nodeid = 2, .attr = file};
            answer(fuse, in, &entry, sizeof entry, 0);
            break;
        }
        case FUSE_GETATTR: {
            struct fuse_attr_out attributes = {.attr = in->nodeid == 1 ? root : file};
            answer(fuse, in, &attributes, sizeof attributes, 0);
            break;
        }
        case FUSE_OPEN: {
            struct fuse_open_out opened = {.fh = 1};
            answer(fuse, in, &opened, sizeof opened, 0);
            break;
        }
        // A process that writes waits without end.
        case FUSE_WRITE:
            break;
        default:
            answer(fuse, in, NULL, 0, -ENOSYS);
        }
    }
}

static int server;

static void file(void) {
    char directory[] = "/tmp/unread.XXXXXX", options[64], path[64];
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || !mkdtemp(directory))
        fail("file");
    // The mount ends with the namespace, so its directory may already be removed.
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (fuse < 0 || mount("unread", directory, "fuse", 0, options) < 0) {
        rmdir(directory);
        fail("fuse");
    }
    server = fork();
    if (server == 0)
        serve(fuse);
    close(fuse);
    snprintf(path, sizeof path, "%s/log", directory);
    // The server answers one FUSE_FLUSH with ENOSYS; otherwise every exit would wait for such a request.
    close(open(path, O_RDWR));
    error = open(path, O_RDWR | O_APPEND);
    if (error < 0)
        fail(path);
    kill(server, SIGSTOP);
    umount2(directory, MNT_DETACH);
    rmdir(directory);
}

static void prepare(const char *kind) {
    int pair[2];
    if (strcmp(kind, "terminal") == 0 || strcmp(kind, "stopped") == 0) {
        terminal();
        if (strcmp(kind, "stopped") == 0)
            tcflow(error, TCOOFF);
        return;
    }
    if (strcmp(kind, "file") == 0 || strcmp(kind, "files") == 0) {
        is_whole_standard = strcmp(kind, "files") == 0;
        file();
        return;
    }
    if (strcmp(kind, "fifo") == 0) {
        char path[] = "/tmp/unread.XXXXXX";
        close(mkstemp(path));
        unlink(path);
        mkfifo(path, 0600);
        reader = open(path, O_RDONLY | O_NONBLOCK);
        error = open(path, O_WRONLY);
        unlink(path);
        return;
    }
    if (strstr(kind, "pipe")) {
        if (pipe(pair) < 0)
            fail(kind);
    } else if (socketpair(AF_UNIX, strcmp(kind, "packets") == 0 ? SOCK_SEQPACKET : SOCK_STREAM, 0, pair) < 0) {
        fail(kind);
    }
    reader = pair[0];
    error = pair[1];
    if (strcmp(kind, "full-pipe") == 0)
        fill(error, 4096);
    if (strcmp(kind, "half-pipe") == 0)
        fill(error, 4096 - 60);
}

static void run(char **words) {
    int child = fork();
    if (child == 0) {
        if (reader >= 0)
            close(reader);
        if (is_whole_standard) {
            dup2(error, 0);
            dup2(error, 1);
        }
        dup2(error, 2);
        execv(words[0], words);
        _exit(127);
    }
    for (int turn = 0;; turn++) {
        int status;
        if (waitpid(child, &status, WNOHANG) == child) {
            printf("ended with %d", status);
            break;
        }
        if (turn == LIMIT_S * 100) {
            printf("BLOCKED");
            kill(child, SIGKILL);
            if (server)
                kill(server, SIGKILL);
            waitpid(child, &status, 0);
            break;
        }
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
}

// Whether the line is a complete log line, from "keepalive[" to "ms".
static int is_line(const char *line) {
    const char *inside = strstr(line + 1, "keepalive[");
    size_t length = strlen(line);
    return strncmp(line, "keepalive[", 10) == 0 && !inside && length > 2 && strcmp(line + length - 2, "ms") == 0;
}

static void drain(void) {
    static char text[1 << 21];
    size_t length = 0;
    struct pollfd poller = {reader, POLLIN, 0};
    if (reader < 0) {
        printf("\n");
        return;
    }
    tcflow(error, TCOON);
    while (length < sizeof text - 1 && poll(&poller, 1, 300) > 0) {
        ssize_t more = read(reader, text + length, sizeof text - 1 - length);
        if (more <= 0)
            break;
        length += more;
    }
    text[length] = 0;
    int whole = 0, other = 0;
    for (char *line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        line += strspn(line, ".");
        if (*line)
            *(is_line(line) ? &whole : &other) += 1;
    }
    printf(", %s lines, %d others\n", whole ? "some" : "no", other);
}

int main(int count, char **words) {
    if (count < 3)
        return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    prepare(words[1]);
    for (int turn = 0; turn < 2; turn++) {
        run(words + 2);
        drain();
    }
    if (server)
        kill(server, SIGKILL);
    return 0;
}
