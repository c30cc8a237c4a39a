// A library whose socket(2) returns another kind of socket than requested: INSTEAD is its domain, type and protocol.
#include "raw.h"

int socket(int domain, int type, int protocol) {
    (void)domain, (void)type, (void)protocol;
    return raw(SYS_socket, INSTEAD, 0, 0);
}
