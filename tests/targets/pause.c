// Waits for a signal: the first process of a pod.
#include <unistd.h>

int main(void) {
    for (;;)
        pause();
}
