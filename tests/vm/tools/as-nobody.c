// as-nobody: runs a command as an ordinary user without capabilities, under the same process id.
//
// usage: as-nobody COMMAND [ARGUMENT...]
#define _GNU_SOURCE
#include <grp.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2 || setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
        return perror("as-nobody"), 1;
    execvp(argv[1], argv + 1);
    return perror(argv[1]), 127;
}
