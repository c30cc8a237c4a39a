// A process that blocks whatever serves its calls, as long as it lives. usage: hung HOW DIRECTORY
//
//   page        the address of its connect(2) is in a page that is never provided
//   lock        another of its threads holds the lock of the socket: it sends from such a page
//   fuse-page   the address is in a file of a file system that never answers; it is mounted on DIRECTORY (as root)
//   fuse-file   the descriptor of its connect(2) is such a file, whose close(2) waits
//   fuse-name   its name, which execve(2) has written to its stack, is in such a file
//
// Twice; after each time this process, which is not involved, connects and prints the options of its socket. Then it
// prints "holding", connects and prints again for each byte of standard input, and waits for its end.
#define _GNU_SOURCE
#include "raw.h"
#include "delayed.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct sockaddr_storage address;
static socklen_t length;
static int reports[2], again[2];

static int fail(const char *what) {
    PRINT("%s: %s\n", what, strerror(errno));
    return 1;
}

// Reports that a thread hangs now.
static void report_hang(void) {
    write(reports[1], "h", 1);
}

struct request {
    int fd;
    const void *address;
    // The request begins when this can be read.
    int begins[2];
};

static void *connect_in_thread(void *argument) {
    char byte;
    struct request *request = argument;
    raw(SYS_read, request->begins[0], (long)&byte, 1, 0, 0);
    raw_connect(request->fd, request->address, length);
    for (;;)
        raw(SYS_pause, 0, 0, 0, 0, 0);
    return NULL;
}

static struct request *request_apart(int fd, const void *to) {
    pthread_t thread;
    struct request *request = malloc(sizeof *request);
    *request = (struct request){fd, to, {-1, -1}};
    if (pipe(request->begins) == 0)
        pthread_create(&thread, NULL, connect_in_thread, request);
    return request;
}

static void begin(const struct request *request) {
    raw(SYS_write, request->begins[1], (long)"b", 1, 0, 0);
}

static void connect_apart(int fd, const void *to) {
    begin(request_apart(fd, to));
}

static void *send_in_thread(void *argument) {
    struct request *request = argument;
    send(request->fd, request->address, PAGE, 0);
    return NULL;
}

static int hang_by_page(void) {
    int userfault;
    void *page = delayed_page(&userfault);
    if (page == NULL)
        return fail("userfaultfd");
    connect_apart(raw_socket(AF_INET, SOCK_STREAM, 0), page);
    await_access(userfault);
    report_hang();
    return 0;
}

static int hang_by_lock(void) {
    int userfault;
    pthread_t thread;
    void *page = delayed_page(&userfault);
    if (page == NULL)
        return fail("userfaultfd");
    struct request *request = malloc(sizeof *request);
    *request = (struct request){raw_client(raw_listener(AF_INET)), page, {-1, -1}};
    pthread_create(&thread, NULL, send_in_thread, request);
    await_access(userfault);
    connect_apart(request->fd, &address);
    usleep(100000);
    report_hang();
    return 0;
}

// A file system with one file: reading and closing it are never answered.
static void serve_file(int device, int waits) {
    static char request[1 << 17], reply[4096];
    struct fuse_in_header *in = (void *)request;
    struct fuse_out_header *out = (void *)reply;
    void *body = out + 1;
    for (;;) {
        if (read(device, request, sizeof request) < 0)
            return;
        size_t size = 0;
        int error = 0;
        struct fuse_attr directory = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2};
        struct fuse_attr file = {.ino = 2, .mode = S_IFREG | 0644, .nlink = 1, .size = 1 << 20};
        memset(reply, 0, sizeof reply);
        switch (in->opcode) {
        case FUSE_INIT:
            *(struct fuse_init_out *)body = (struct fuse_init_out){.major = 7, .minor = 31, .max_write = 4096};
            size = sizeof(struct fuse_init_out);
            break;
        case FUSE_GETATTR:
            *(struct fuse_attr_out *)body =
                (struct fuse_attr_out){.attr_valid = 1000, .attr = in->nodeid == 1 ? directory : file};
            size = sizeof(struct fuse_attr_out);
            break;
        case FUSE_LOOKUP:
            *(struct fuse_entry_out *)body =
                (struct fuse_entry_out){.nodeid = 2, .entry_valid = 1000, .attr_valid = 1000, .attr = file};
            size = sizeof(struct fuse_entry_out);
            break;
        case FUSE_OPEN:
            size = sizeof(struct fuse_open_out);
            break;
        case FUSE_READ:
        case FUSE_FLUSH:
            write(waits, "w", 1);
            continue;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
            continue;
        default:
            error = -ENOSYS;
        }
        *out = (struct fuse_out_header){sizeof *out + size, error, in->unique};
        write(device, reply, out->len);
    }
}

// Mounts it in a namespace of this process. Returns an open file, and its server.
static int mount_file(const char *place, int *server, int *waits) {
    char options[128], path[4096];
    int pipes[2];
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    int device = open("/dev/fuse", O_RDWR);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    if (device < 0 || mount("hung", place, "fuse", MS_NOSUID | MS_NODEV, options) < 0 || pipe(pipes) < 0)
        return -1;
    if ((*server = fork()) == 0) {
        close(reports[0]);
        serve_file(device, pipes[1]);
        _exit(0);
    }
    close(device);
    *waits = pipes[0];
    snprintf(path, sizeof path, "%s/file", place);
    return open(path, O_RDWR);
}

static int hang_by_file(const char *how, int file, int waits, int attempt) {
    static struct request *requests[2];
    char byte;
    // Both are prepared first: the C library often reads the environment, which is in the same page as the name.
    for (int i = 0; attempt == 0 && i < 2; i++) {
        const void *to = &address;
        if (strcmp(how, "fuse-page") == 0) {
            void *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, i * PAGE);
            // Without readahead, which does not wait for the server itself, only the server's answer ends the wait.
            madvise(page, PAGE, MADV_RANDOM);
            to = page;
        }
        requests[i] = request_apart(strcmp(how, "fuse-file") == 0 ? file : raw_socket(AF_INET, SOCK_STREAM, 0), to);
    }
    if (attempt == 0 && strcmp(how, "fuse-name") == 0) {
        void *page = (void *)(getauxval(AT_EXECFN) & ~(PAGE - 1UL));
        mmap(page, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0);
        madvise(page, PAGE, MADV_RANDOM);
    }
    begin(requests[attempt]);
    // Waits until the server gets the request; it gets none if the supervisor does not serve this process.
    struct pollfd poller = {waits, POLLIN, 0};
    if (poll(&poller, 1, 2000) == 1)
        read(waits, &byte, 1);
    report_hang();
    return 0;
}

static void connect_and_show(void) {
    int fd = raw_socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, (struct sockaddr *)&address, length);
    show("other", fd);
}

static int hang(const char *how, int file, int waits, int attempt) {
    if (strcmp(how, "page") == 0)
        return hang_by_page();
    if (strcmp(how, "lock") == 0)
        return hang_by_lock();
    return hang_by_file(how, file, waits, attempt);
}

static struct blocker {
    const char *how;
    int file, waits;
} blocker;

// In a thread, because the name is in the page of the main thread's stack.
static void *block(void *nothing) {
    char byte;
    for (int i = 0; i < 2 && hang(blocker.how, blocker.file, blocker.waits, i) == 0; i++)
        read(again[0], &byte, 1);
    // The process waits to be killed: closing the file would block.
    pause();
    return nothing;
}

int main(int count, char **words) {
    char byte;
    if (count != 3)
        return 2;
    const char *how = strdup(words[1]);
    int file = -1, waits = -1, server = 0;
    int listener = raw_listener(AF_INET);
    length = raw_name(listener, &address);
    if (pipe(reports) < 0 || pipe(again) < 0)
        return fail("pipe");
    if (strncmp(how, "fuse", 4) == 0 && (file = mount_file(words[2], &server, &waits)) < 0)
        return fail("fuse");
    blocker = (struct blocker){how, file, waits};
    int child = fork();
    if (child == 0) {
        pthread_t thread;
        close(again[1]);
        pthread_create(&thread, NULL, block, NULL);
        for (;;)
            pause();
    }
    close(reports[1]);
    for (int i = 0; i < 2; i++) {
        if (read(reports[0], &byte, 1) != 1)
            return fail("nothing hangs");
        connect_and_show();
        write(again[1], "a", 1);
    }
    PRINT("holding\n");
    while (read(0, &byte, 1) > 0)
        connect_and_show();
    // The server is killed first: processes that wait for it cannot end before.
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
