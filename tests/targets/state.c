/* Prints the state that a process has from its parent and from its own past, a line each: `state`. For unusual
 * states: `state WORD... -- COMMAND...` creates them and executes COMMAND. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <unistd.h>

static void usage(void)
{
	struct rusage all;
	struct tms times_;
	char stat[4096], *rest;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, stat, sizeof stat - 1);
	/* The fields of proc_pid_stat(5), from the third. */
	static const struct { int number; const char *name; } fields[] = {
		{ 7, "tty_nr" }, { 8, "tpgid" }, { 11, "cminflt" }, { 13, "cmajflt" }, { 16, "cutime" }, { 17, "cstime" },
		{ 18, "priority" }, { 19, "nice" }, { 20, "num_threads" }, { 38, "exit_signal" }, { 40, "rt_priority" },
		{ 41, "policy" }, { 44, "cguest_time" },
	};
	int number = 3;

	close(fd);
	getrusage(RUSAGE_CHILDREN, &all);
	printf("children: user %ld.%06ld system %ld.%06ld maxrss %ld minflt %ld majflt %ld inblock %ld oublock %ld nvcsw %ld "
	       "nivcsw %ld\n", all.ru_utime.tv_sec, all.ru_utime.tv_usec, all.ru_stime.tv_sec, all.ru_stime.tv_usec,
	       all.ru_maxrss, all.ru_minflt, all.ru_majflt, all.ru_inblock, all.ru_oublock, all.ru_nvcsw, all.ru_nivcsw);
	times(&times_);
	printf("times: cutime %ld cstime %ld\n", (long)times_.tms_cutime, (long)times_.tms_cstime);
	stat[length > 0 ? length : 0] = 0;
	rest = strrchr(stat, ')');
	for (char *word = rest ? strtok(rest + 2, " ") : NULL; word; word = strtok(NULL, " "), number++)
		for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
			if (fields[i].number == number)
				printf("%s: %s\n", fields[i].name, word);
}

static void set(const char *name, const sigset_t *signals)
{
	printf("%s:", name);
	for (int signal = 1; signal <= SIGRTMAX; signal++)
		if (sigismember(signals, signal) == 1)
			printf(" %d", signal);
	printf("\n");
}

static void signals(void)
{
	sigset_t signals;
	stack_t stack;

	sigpending(&signals);
	set("pending", &signals);
	sigprocmask(SIG_SETMASK, NULL, &signals);
	set("blocked", &signals);
	printf("dispositions:");
	for (int signal = 1; signal <= SIGRTMAX; signal++) {
		struct sigaction action;
		if (sigaction(signal, NULL, &action) == 0 && (action.sa_handler != SIG_DFL || action.sa_flags))
			printf(" %d:%s:%x", signal, action.sa_handler == SIG_IGN ? "ignored" : "other", action.sa_flags);
	}
	sigaltstack(NULL, &stack);
	printf("\nalternate stack: %d\n", stack.ss_flags);
	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
		struct itimerval timer;
		getitimer(which, &timer);
		printf("timer %d: %s every %ld.%06ld\n", which, timer.it_value.tv_sec || timer.it_value.tv_usec ? "armed" : "off",
		       timer.it_interval.tv_sec, timer.it_interval.tv_usec);
	}
}

static void controls(void)
{
	int number = -1;

	prctl(PR_GET_PDEATHSIG, &number);
	printf("parent's death: %d\n", number);
	prctl(PR_GET_CHILD_SUBREAPER, &number);
	printf("subreaper: %d\n", number);
	printf("dumpable: %d\nsecure bits: %x\nkeeps capabilities: %d\ntimer slack: %d\nhuge pages off: %d\n",
	       prctl(PR_GET_DUMPABLE), prctl(PR_GET_SECUREBITS), prctl(PR_GET_KEEPCAPS), prctl(PR_GET_TIMERSLACK),
	       prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	printf("personality: %x\n", personality(0xffffffff));
	printf("session keyring: %ld\n", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	printf("io priority: %ld\n", syscall(SYS_ioprio_get, 1, 0));
	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit limit;
		getrlimit(resource, &limit);
		printf("limit %d: %llx %llx\n", resource, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	}
}

static void file(const char *path, const char *wanted)
{
	char line[8192];
	FILE *lines = fopen(path, "re");

	while (lines && fgets(line, sizeof line, lines)) {
		size_t length = strcspn(line, ":");
		char name[64] = "";
		if (length < sizeof name - 2)
			sprintf(name, " %.*s ", (int)length, line);
		if (!wanted || (*name && strstr(wanted, name)))
			printf("%s: %s%s", path, line, strchr(line, '\n') ? "" : "\n");
	}
	if (lines)
		fclose(lines);
}

static void processes(void)
{
	char path[64];
	pid_t pid = getpid();
	int status;

	printf("group: %d\nsession: %d\nforeground: %d\n", getpgrp() == pid ? 0 : getpgrp(), getsid(0) == pid ? 0 : getsid(0),
	       tcgetpgrp(0) == pid ? 0 : tcgetpgrp(0));
	pid = waitpid(-1, &status, WNOHANG);
	printf("wait: %s\n", pid < 0 ? strerror(errno) : pid ? "a child" : "running children");
	sprintf(path, "/proc/self/task/%d/children", getpid());
	if (!getenv("STATE_UNLISTED"))
		file(path, NULL);
}

static void descriptors(void)
{
	for (int fd = 0; fd < 1024; fd++) {
		char path[64], target[PATH_MAX];
		ssize_t length;
		int flags = fcntl(fd, F_GETFD);
		if (flags < 0)
			continue;
		sprintf(path, "/proc/self/fd/%d", fd);
		length = readlink(path, target, sizeof target - 1);
		target[length > 0 ? length : 0] = 0;
		/* The test's own descriptors are pipes, whose numbers differ in each run. */
		printf("descriptor %d: %x %x %.*s\n", fd, flags, fcntl(fd, F_GETFL), (int)strcspn(target, "["), target);
	}
}

static void files(void)
{
	char directory[PATH_MAX] = "", root[PATH_MAX] = "";
	mode_t mask = umask(0);

	umask(mask);
	printf("umask: %o\ndirectory: %s\n", mask, getcwd(directory, sizeof directory));
	printf("root: %zd %s\n", readlink("/proc/self/root", root, sizeof root - 1), root);
}

extern char **environ;

static void arguments(char **argv)
{
	for (; *argv; argv++)
		printf("argument: %s\n", *argv);
	for (char **variable = environ; *variable; variable++)
		if (strncmp(*variable, "KEEP", 4) && strncmp(*variable, "LD_PRELOAD", 10) &&
		    strncmp(*variable, "ASAN_OPTIONS", 12))
			printf("variable: %s\n", *variable);
	printf("file: %s\nsecure: %lu\n", (const char *)getauxval(AT_EXECFN), getauxval(AT_SECURE));
}

static void make_unusual(const char *word)
{
	sigset_t signals;

	sigemptyset(&signals);
	if (!strcmp(word, "odd")) {
		struct itimerval timer = { { 1000, 0 }, { 1000, 0 } };
		struct rlimit files = { 64, 128 }, core = { 4096, 8192 };
		cpu_set_t first;
		FILE *adjustment;
		umask(027);
		if (nice(3) < 0)
			perror("nice");
		setitimer(ITIMER_REAL, &timer, NULL);
		setrlimit(RLIMIT_NOFILE, &files);
		setrlimit(RLIMIT_CORE, &core);
		prctl(PR_SET_TIMERSLACK, 123456);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
		syscall(SYS_ioprio_set, 1, 0, (2 << 13) | 6);
		CPU_ZERO(&first);
		CPU_SET(0, &first);
		sched_setaffinity(0, sizeof first, &first);
		adjustment = fopen("/proc/self/oom_score_adj", "we");
		if (adjustment) {
			fputs("500", adjustment);
			fclose(adjustment);
		}
		adjustment = fopen("/proc/self/coredump_filter", "we");
		if (adjustment) {
			fputs("0x7", adjustment);
			fclose(adjustment);
		}
		signal(SIGUSR1, SIG_IGN);
		signal(SIGRTMIN + 3, SIG_IGN);
		sigaddset(&signals, SIGUSR2);
		sigaddset(&signals, SIGRTMIN + 1);
		sigprocmask(SIG_BLOCK, &signals, NULL);
		raise(SIGUSR2);
	} else if (!strcmp(word, "blocked")) {
		sigaddset(&signals, SIGCHLD);
		sigprocmask(SIG_BLOCK, &signals, NULL);
	} else if (!strcmp(word, "pending")) {
		raise(SIGCHLD);
	} else if (!strcmp(word, "ignored")) {
		signal(SIGCHLD, SIG_IGN);
	} else if (!strcmp(word, "subreaper")) {
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	} else if (!strcmp(word, "child")) {
		/* It lives as long as the program that its parent executes. */
		int ends[2];
		if (pipe2(ends, 0) == 0 && fork() == 0) {
			char byte;
			close(ends[1]);
			for (int fd = 1; fd < 3; fd++)
				close(fd);
			_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
		}
		close(ends[0]);
	} else if (!strcmp(word, "unlisted")) {
		/* The children file is not printed; the process can wait for its children. */
		setenv("STATE_UNLISTED", "1", 1);
	} else if (!strcmp(word, "daemon")) {
		setsid();
	} else {
		fprintf(stderr, "state: %s?\n", word);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			execvp(argv[i + 1], argv + i + 1);
			perror(argv[i + 1]);
			return 127;
		}
		make_unusual(argv[i]);
	}
	usage();
	signals();
	controls();
	processes();
	descriptors();
	files();
	arguments(argv);
	file("/proc/self/oom_score_adj", NULL);
	file("/proc/self/coredump_filter", NULL);
	file("/proc/self/status", " Uid Gid Groups Umask CapInh CapPrm CapEff CapBnd CapAmb VmLck Cpus_allowed Mems_allowed ");
	return 0;
}
