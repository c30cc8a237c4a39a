// Attaches an empty eBPF program to a cgroup, as other software does.
//
// usage: another HOOK HOW CGROUP [NAME [FILE]]
//   HOOK: sockops setsockopt
//   HOW:  none, override, multi: the attach mode; link: by a link, which is pinned as FILE
//   NAME: the program's name
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(const char *what, int command, union bpf_attr *attributes) {
    int result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    if (result < 0)
        printf("%s: %s\n", what, strerror(errno));
    return result;
}

int main(int count, char **words) {
    if (count < 4)
        return 2;
    int is_sockops = strcmp(words[1], "sockops") == 0;
    int hook = is_sockops ? BPF_CGROUP_SOCK_OPS : BPF_CGROUP_SETSOCKOPT;
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    int cgroup = open(words[3], O_RDONLY | O_DIRECTORY);
    if (cgroup < 0) {
        perror(words[3]);
        return 1;
    }

    // r0 = 1; exit
    struct bpf_insn code[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr load = {
        .prog_type = is_sockops ? BPF_PROG_TYPE_SOCK_OPS : BPF_PROG_TYPE_CGROUP_SOCKOPT,
        .insn_cnt = 2,
        .insns = (uintptr_t)code,
        .license = (uintptr_t) "GPL",
        .expected_attach_type = hook,
    };
    if (count > 4)
        strncpy(load.prog_name, words[4], sizeof load.prog_name - 1);
    int program = bpf("load", BPF_PROG_LOAD, &load);
    if (program < 0)
        return 1;

    if (strcmp(words[2], "link") == 0 && count > 5) {
        union bpf_attr create = {.link_create = {.prog_fd = program, .target_fd = cgroup, .attach_type = hook}};
        int link = bpf("link", BPF_LINK_CREATE, &create);
        union bpf_attr pin = {.pathname = (uintptr_t)words[5], .bpf_fd = link};
        return link < 0 || bpf("pin", BPF_OBJ_PIN, &pin) < 0;
    }
    union bpf_attr attach = {.target_fd = cgroup, .attach_bpf_fd = program, .attach_type = hook};
    if (strcmp(words[2], "multi") == 0)
        attach.attach_flags = BPF_F_ALLOW_MULTI;
    else if (strcmp(words[2], "override") == 0)
        attach.attach_flags = BPF_F_ALLOW_OVERRIDE;
    return bpf("attach", BPF_PROG_ATTACH, &attach) < 0;
}
