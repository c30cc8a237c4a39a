// A FUSE file system that stops answering. `hung_fuse DIRECTORY SOURCE COMMAND [ARG]...` mounts it on DIRECTORY in its
// own mount namespace, with one executable file, DIRECTORY/file, that has the bytes of SOURCE, and executes COMMAND.
// The server is COMMAND's first child; COMMAND finds its number in HUNG_SERVER, and the file in HUNG_FILE. After
// SIGUSR1 the server accepts every request and answers none, so that a process that waits for an answer cannot even be
// killed. All waits end with the server.

#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DIRECTORY = FUSE_ROOT_ID, FILE_ID = 2, REQUEST = 1 << 18 };

static volatile sig_atomic_t is_hung;
static int device, source;
static char request[REQUEST] __attribute__((aligned(8)));

static void hang(int number) {
    (void)number;
    is_hung = 1;
    // Limits the time for which a failed test hangs.
    alarm(90);
}

static void reply(unsigned long long unique, int error, const void *data, size_t length) {
    struct fuse_out_header header = {.len = sizeof header + length, .error = -error, .unique = unique};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)data, length}};
    if (!is_hung && writev(device, parts, 2) < 0 && errno != ENOENT)
        err(1, "reply");
}

static struct fuse_attr attributes(unsigned long long node) {
    struct fuse_attr attr = {.ino = node, .nlink = 1, .blksize = 4096};
    struct stat status;
    if (node == DIRECTORY) {
        attr.mode = S_IFDIR | 0755;
    } else {
        if (fstat(source, &status) != 0)
            err(1, "fstat");
        attr.mode = S_IFREG | 0755;
        attr.size = status.st_size;
    }
    return attr;
}

static void answer(const struct fuse_in_header *header, const void *body) {
    switch (header->opcode) {
    case FUSE_INIT: {
        const struct fuse_init_in *in = body;
        // Without FUSE_ASYNC_READ, a process that reads a page waits for the server itself.
        struct fuse_init_out out = {
            .major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = in->max_readahead, .max_write = 4096};
        reply(header->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_LOOKUP: {
        struct fuse_entry_out out = {.nodeid = FILE_ID, .attr = attributes(FILE_ID)};
        if (strcmp(body, "file") == 0)
            reply(header->unique, 0, &out, sizeof out);
        else
            reply(header->unique, ENOENT, NULL, 0);
        return;
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr = attributes(header->nodeid)};
        reply(header->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
        struct fuse_open_out out = {0};
        reply(header->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_READ: {
        const struct fuse_read_in *in = body;
        static char data[REQUEST];
        ssize_t length = pread(source, data, in->size < sizeof data ? in->size : sizeof data, in->offset);
        reply(header->unique, length < 0 ? errno : 0, data, length < 0 ? 0 : length);
        return;
    }
    case FUSE_STATFS: {
        struct fuse_statfs_out out = {.st = {.bsize = 4096, .namelen = 255}};
        reply(header->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_ACCESS:
        reply(header->unique, 0, NULL, 0);
        return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    default:
        reply(header->unique, ENOSYS, NULL, 0);
    }
}

static void serve(void) {
    for (;;) {
        ssize_t length = read(device, request, sizeof request);
        if (length >= (ssize_t)sizeof(struct fuse_in_header)) {
            const struct fuse_in_header *header = (const void *)request;
            answer(header, header + 1);
        } else if (length < 0 && errno != EINTR && errno != ENOENT && errno != EAGAIN) {
            _exit(0);
        }
    }
}

int main(int count, char **words) {
    if (count < 4)
        errx(2, "hung_fuse DIRECTORY SOURCE COMMAND [ARG]...");
    source = open(words[2], O_RDONLY | O_CLOEXEC);
    if (source < 0)
        err(1, "%s", words[2]);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        err(1, "mount namespace");
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0)
        err(1, "pipe");
    signal(SIGUSR1, hang);
    pid_t server = fork();
    if (server < 0)
        err(1, "fork");
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (device < 0)
            err(1, "/dev/fuse");
        char options[100];
        snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
        if (mount("hung", words[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0)
            err(1, "mount");
        if (write(ready[1], "", 1) != 1)
            err(1, "pipe");
        for (int fd = 0; fd < 3; fd++)
            close(fd);
        close(ready[0]);
        close(ready[1]);
        serve();
    }
    signal(SIGUSR1, SIG_DFL);
    char byte, number[20], file[4096];
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        errx(1, "no file system");
    snprintf(number, sizeof number, "%d", server);
    snprintf(file, sizeof file, "%s/file", words[1]);
    setenv("HUNG_SERVER", number, 1);
    setenv("HUNG_FILE", file, 1);
    execvp(words[3], words + 3);
    err(127, "%s", words[3]);
}
