// Cancels a thread that waits in a call that the library hooks, and prints which frames were unwound.
// usage: cancel deferred|asynchronous
#include "raw.h"

#include <pthread.h>
#include <stdlib.h>

static struct sockaddr_storage address;
static socklen_t length;
static int listener, thread_id;
static int type;

struct Destroyed {
    ~Destroyed() { PRINT("destructor\n"); }
};

static void clean_up(void *) {
    PRINT("cleanup handler\n");
}

static void *wait_in(void *function) {
    int before;
    pthread_setcanceltype(type, &before);
    Destroyed destroyed;
    pthread_cleanup_push(clean_up, nullptr);
    thread_id = raw(SYS_gettid, 0, 0, 0, 0, 0);
    reinterpret_cast<void (*)()>(function)();
    PRINT("it returned\n");
    pthread_cleanup_pop(0);
    return nullptr;
}

static void in_accept() { accept(listener, nullptr, nullptr); }
static void in_accept4() { accept4(listener, nullptr, nullptr, 0); }
static void in_connect() {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, reinterpret_cast<struct sockaddr *>(&address), length);
}

// Waits until the thread sleeps in the kernel, according to /proc/PID/task/TID/stat.
static void await_sleep() {
    char path[64], state = 0;
    while (state != 'S') {
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", *(volatile int *)&thread_id);
        FILE *stat = fopen(path, "r");
        if (stat != nullptr) {
            if (fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
                abort();
            fclose(stat);
        }
    }
}

static void cancel(const char *name, void (*function)()) {
    pthread_t thread;
    void *result;
    PRINT("%s\n", name);
    thread_id = 0;
    pthread_create(&thread, nullptr, wait_in, reinterpret_cast<void *>(function));
    await_sleep();
    pthread_cancel(thread);
    pthread_join(thread, &result);
    PRINT("%s\n", result == PTHREAD_CANCELED ? "cancelled" : "ended");
}

int main(int count, char **words) {
    bool deferred = count == 2 && strcmp(words[1], "deferred") == 0;
    type = deferred ? PTHREAD_CANCEL_DEFERRED : PTHREAD_CANCEL_ASYNCHRONOUS;
    listener = raw_listener(AF_INET);
    cancel("accept", in_accept);
    cancel("accept4", in_accept4);
    // A listener with a full queue does not answer.
    int silent = raw_socket(AF_INET, SOCK_STREAM, 0);
    raw_bind(silent);
    raw(SYS_listen, silent, 0, 0, 0, 0);
    length = raw_name(silent, &address);
    raw_client(silent);
    cancel("connect", in_connect);
}
