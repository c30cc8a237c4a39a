// Memory whose first access waits until the page is provided (userfaultfd(2)).

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

// Maps a missing page; *userfault reports its first access. Returns NULL if this kernel does not support this.
static inline void *delayed_page(int *userfault) {
    struct uffdio_api api = {.api = UFFD_API};
    *userfault = syscall(SYS_userfaultfd, O_CLOEXEC);
    if (*userfault < 0 || ioctl(*userfault, UFFDIO_API, &api) < 0)
        return NULL;
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {{(unsigned long)page, PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};
    return page == MAP_FAILED || ioctl(*userfault, UFFDIO_REGISTER, &range) < 0 ? NULL : page;
}

// Waits for the first access.
static inline void await_access(int userfault) {
    struct uffd_msg message;
    while (read(userfault, &message, sizeof message) != sizeof message)
        ;
}

// Provides the page with these bytes, followed by zeroes.
static inline int provide_page(int userfault, void *page, const void *bytes, size_t length) {
    static char content[PAGE] __attribute__((aligned(PAGE)));
    memcpy(content, bytes, length);
    struct uffdio_copy copy = {(unsigned long)page, (unsigned long)content, PAGE, 0, 0};
    return ioctl(userfault, UFFDIO_COPY, &copy);
}
