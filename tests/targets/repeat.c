// Repeats calls, for tests that count instructions and pages.
// usage: repeat socket|connect COUNT
// At the end it prints its memory: /proc/self/smaps.
#include "raw.h"

#include <stdlib.h>

int main(int count, char **words) {
    if (count != 3)
        return 2;
    struct sockaddr_storage address;
    int listener = raw_listener(AF_INET);
    socklen_t length = raw_name(listener, &address);
    for (int i = atoi(words[2]); i > 0; i--) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0)
            return 1;
        if (strcmp(words[1], "connect") == 0) {
            if (connect(fd, (struct sockaddr *)&address, length) != 0)
                return 1;
            raw_close((int)raw(SYS_accept4, listener, 0, 0, 0, 0));
        }
        raw_close(fd);
    }
    char buffer[4096];
    ssize_t read_now;
    int smaps = open("/proc/self/smaps", O_RDONLY);
    while ((read_now = read(smaps, buffer, sizeof buffer)) > 0)
        if (write(STDOUT_FILENO, buffer, (size_t)read_now) != read_now)
            return 1;
    return 0;
}
