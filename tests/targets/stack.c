// Measures the stack use of the calls that the library hooks, and makes them on a small stack.
// usage: stack measure|alternate [SKIP]
// SKIP is the number of calls that are left out at the beginning, so that another call is the first.
//
// Compiled with CONSTRUCTOR it is a library that measures the first of all calls, before the other library's
// constructor. It must be linked with -z now: the loader's lazy binding uses thousands of bytes.
#define _GNU_SOURCE
#include "ways.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

enum { PAGE = 65536, SIZE = 65536 };

static const struct way *way = &directly;
static int fd;

// Returns the lowest byte above a page without access.
static char *guarded(size_t size) {
    char *area = (char *)mmap(NULL, PAGE + size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(area + PAGE, size, PROT_READ | PROT_WRITE);
    return area + PAGE;
}

// Calls a function on another stack.
static void on_stack(char *top, void (*function)(void)) {
#if defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %%rbx\n\tmovq %0, %%rsp\n\tcall *%1\n\tmovq %%rbx, %%rsp"
                     :
                     : "r"(top), "r"(function)
                     : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
#elif defined(__aarch64__)
    __asm__ volatile("mov x19, sp\n\tmov sp, %0\n\tblr %1\n\tmov sp, x19"
                     :
                     : "r"(top), "r"(function)
                     : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
                       "x15", "x16", "x17", "x18", "x19", "x30", "memory", "cc");
#endif
}

static void nothing(void) {}
static void do_socket(void) {
    fd = way->socket(AF_INET, SOCK_STREAM, 0);
}

// Returns the stack bytes that a function uses, without its return address.
static int measure(void (*function)(void)) {
    static char *stack;
    if (stack == NULL)
        stack = guarded(SIZE);
    memset(stack, 0xa5, SIZE);
    on_stack(stack + SIZE, function);
    int unused = 0;
    while (unused < SIZE && stack[unused] == (char)0xa5)
        unused++;
    return SIZE - unused;
}

static int to_skip;

static void print_measure(const char *name, void (*function)(void)) {
    if (to_skip > 0) {
        to_skip--;
        return;
    }
    int bytes = measure(function) - measure(nothing);
    PRINT("%s%s: %d\n", way->name, name, bytes);
}

#ifdef CONSTRUCTOR

__attribute__((constructor)) static void constructed(void) {
    print_measure("first socket", do_socket);
}

#else

static struct sockaddr_storage address;
static socklen_t length;
static int listener;

static void do_connect(void) {
    way->connect(fd, (struct sockaddr *)&address, length);
}
static void do_accept(void) {
    fd = way->accept(listener, NULL, NULL);
}
static void do_accept4(void) {
    fd = way->accept4(listener, NULL, NULL, 0);
}
static void do_listen(void) {
    way->listen(fd, 1);
}
static void do_getsockopt(void) {
    int error;
    socklen_t size = sizeof error;
    way->getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
}
static void do_setsockopt(void) {
    way->setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){300}, sizeof(int));
}

// Makes each call so that the library has the most to do: with inherited sockets, and complete connections.
static void each(void (*with)(const char *name, void (*function)(void))) {
    listener = raw_listener(AF_INET);
    length = raw_name(listener, &address);
    // For accept, in case connect is left out.
    raw_connect(raw_socket(AF_INET, SOCK_STREAM, 0), &address, length);
    with("socket", do_socket);
    fd = raw_socket(AF_INET, SOCK_STREAM, 0);
    with("connect", do_connect);
    fd = raw_socket(AF_INET, SOCK_STREAM, 0);
    raw_connect(fd, &address, length);
    with("getsockopt", do_getsockopt);
    with("setsockopt", do_setsockopt);
    with("accept", do_accept);
    with("accept4", do_accept4);
    fd = raw_socket(AF_INET, SOCK_STREAM, 0);
    with("listen", do_listen);
}

static void (*in_handler)(void);

static void handler(int signal) {
    (void)signal;
    in_handler();
}

static void call_in_handler(const char *name, void (*function)(void)) {
    in_handler = function;
    raise(SIGUSR1);
    PRINT("%s%s\n", way->name, name);
}

// The signal frame depends on the processor's registers, and the kernel refuses a smaller stack.
static void use_alternate_stack(size_t to_spare) {
    size_t size = getauxval(AT_MINSIGSTKSZ);
    if (size == 0)
        size = MINSIGSTKSZ;
    size += to_spare;
    stack_t stack = {.ss_sp = guarded((size + PAGE - 1) / PAGE * PAGE), .ss_size = size};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    if (sigaltstack(&stack, NULL) < 0 || sigaction(SIGUSR1, &action, NULL) < 0)
        exit(1);
}

int main(int count, char **words) {
    const char *what = count >= 2 ? words[1] : "";
    to_skip = count >= 3 ? atoi(words[2]) : 0;
    if (strcmp(what, "alternate") == 0)
        use_alternate_stack(1024);
    for (int i = 0; i < 2; i++) {
        way = i == 0 ? &directly : &by_syscall;
        if (strcmp(what, "measure") == 0)
            each(print_measure);
        else if (strcmp(what, "alternate") == 0)
            each(call_in_handler);
    }
    return 0;
}

#endif
