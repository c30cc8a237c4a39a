// A library that comes between: its socket(2) gives another kind of socket than it is asked for.
// INSTEAD is the domain, the type and the protocol of what it gives.
#include "raw.h"

int socket(int domain, int type, int protocol) {
    (void)domain, (void)type, (void)protocol;
    return raw(SYS_socket, INSTEAD, 0, 0);
}
