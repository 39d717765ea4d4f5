// floor: the fewest system calls that leave the same kernel-visible container as the bundles `n` and `a`, and nothing
// else. It is what the kernel charges: no runtime that parses a config can be below it.
//
//   floor [--root ROOT] run|create|start|state|exec|kill|delete …    as an OCI runtime's command line
//   floor steps [-n N] [-p MS] BUNDLE                                 medians of every step of N runs, in microseconds
//
// What it makes is hard-wired. config.json is read, as a runtime must, but three strings of it are all that counts: the
// program (/bin/true or /bin/sleep), `cgroupsPath` (bundle a: nine v1 hierarchies, joined by writing 0 to `tasks`, which
// spares the kernel's grace period) and whether a cgroup mount is asked for. There is no floor for cgroup v2 yet.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CHECK(call) do { if ((call) < 0) die(#call); } while (0)

static const char *const hierarchies[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"};
enum { HIERARCHIES = COUNT(hierarchies), MAX_STEPS = 64, MAX_RUNS = 2000, PATH = 512 };

static void die(const char *what) {
    dprintf(2, "floor: %s: %s\n", what, strerror(errno));
    _exit(111);
}

// --- what the bundle asks for ------------------------------------------------------------------------------------

static struct {
    char rootfs[PATH], cgroup[PATH]; // cgroup is empty when the bundle names none
    int cgroup_mount;
    char *const *program;
} want;

static void read_bundle(const char *bundle) {
    static char config[65536];
    static char *const run_true[] = {"/bin/true", NULL}, *const run_sleep[] = {"/bin/sleep", "1000", NULL};
    char path[PATH];
    snprintf(path, sizeof path, "%s/config.json", bundle);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, config, sizeof config - 1) <= 0) die(path);
    close(fd);
    snprintf(want.rootfs, sizeof want.rootfs, "%s/rootfs", bundle);
    want.program = strstr(config, "/bin/sleep") ? run_sleep : run_true;
    want.cgroup_mount = strstr(config, "\"/sys/fs/cgroup\"") != NULL;
    char *key = strstr(config, "\"cgroupsPath\":");
    if (key && sscanf(key, "\"cgroupsPath\": \"%500[^\"]", want.cgroup) != 1) die("cgroupsPath");
}

// --- the clock of `floor steps` ----------------------------------------------------------------------------------

static const char *step_names[MAX_STEPS];
static float (*step_us)[MAX_RUNS]; // NULL: nobody wants to know
static int step_count, current_run;
static double last_us;

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

// Charges the time since the last call to a step. Parent and child share this memory.
static void tick(const char *name) {
    if (!step_us) return;
    int i = 0;
    while (i < step_count && step_names[i] != name) i++;
    if (i == MAX_STEPS) return;
    if (i == step_count) step_names[step_count++] = name;
    double now = now_us();
    step_us[i][current_run] += now - last_us;
    last_us = now;
}

// --- control groups ----------------------------------------------------------------------------------------------

static int tasks_fd[HIERARCHIES];

static void put(int dir, const char *file, const char *text) {
    int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) die(file);
    close(fd);
}

static void make_cgroups(void) {
    static const char *const allowed[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:8 rwm", "c 1:7 rwm", "c 5:0 rwm",
                                          "c 1:5 rwm", "c 1:9 rwm", "c 136:* rwm", "c 5:2 rwm"};
    char path[2 * PATH];
    if (!want.cgroup[0]) return;
    for (int i = 0; i < HIERARCHIES; i++) {
        tasks_fd[i] = -1;
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s%s", hierarchies[i], want.cgroup);
        if (mkdir(path, 0755) < 0) {
            if (errno == ENOENT) continue; // not mounted on this machine
            die(path);
        }
        int dir = open(path, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
        if (dir < 0) die(path);
        if (!strcmp(hierarchies[i], "cpuset")) {
            char list[256];
            static const char *const inherited[] = {"cpuset.cpus", "cpuset.mems"};
            for (size_t k = 0; k < COUNT(inherited); k++) {
                snprintf(path, sizeof path, "../%s", inherited[k]);
                int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
                ssize_t length = fd < 0 ? -1 : read(fd, list, sizeof list - 1);
                if (length < 0) die(path);
                close(fd);
                list[length] = 0;
                put(dir, inherited[k], list);
            }
        }
        if (!strcmp(hierarchies[i], "devices")) {
            put(dir, "devices.deny", "a");
            int fd = openat(dir, "devices.allow", O_WRONLY | O_CLOEXEC);
            for (size_t k = 0; k < COUNT(allowed); k++) CHECK(write(fd, allowed[k], strlen(allowed[k])));
            close(fd);
        }
        CHECK(tasks_fd[i] = openat(dir, "tasks", O_WRONLY | O_CLOEXEC));
        close(dir);
    }
    tick("make 9 cgroups, device rules");
}

static void join_cgroups(void) {
    if (!want.cgroup[0]) return;
    for (int i = 0; i < HIERARCHIES; i++)
        if (tasks_fd[i] >= 0 && write(tasks_fd[i], "0", 1) < 0) die(hierarchies[i]);
    tick("join 9 cgroups");
}

static void remove_cgroups(const char *cgroup) {
    char path[2 * PATH];
    if (!cgroup[0]) return;
    for (int i = 0; i < HIERARCHIES; i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s%s", hierarchies[i], cgroup);
        for (int tries = 0; tries < 1000 && rmdir(path) < 0 && errno == EBUSY; tries++) usleep(200);
    }
    tick("remove 9 cgroups");
}

// --- the container's init ----------------------------------------------------------------------------------------

static const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;

static void mount_cgroups(void) {
    char from[2 * PATH], to[PATH];
    if (!want.cgroup_mount) return;
    CHECK(mount("tmpfs", "sys/fs/cgroup", "tmpfs", safe, "mode=755"));
    for (int i = 0; i < HIERARCHIES; i++) {
        if (want.cgroup[0] && tasks_fd[i] < 0) continue;
        snprintf(from, sizeof from, "/sys/fs/cgroup/%s%s", hierarchies[i], want.cgroup);
        snprintf(to, sizeof to, "sys/fs/cgroup/%s", hierarchies[i]);
        CHECK(mkdir(to, 0755));
        CHECK(mount(from, to, NULL, MS_BIND, NULL));
        CHECK(mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL));
    }
    CHECK(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL));
    tick("mount 9 cgroups");
}

static void make_devices(void) {
    static const struct { const char *path; int major, minor; } devices[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/tty", 5, 0}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}};
    for (size_t i = 0; i < COUNT(devices); i++)
        CHECK(mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)));
    CHECK(symlink("/proc/self/fd", "dev/fd"));
    CHECK(symlink("/proc/self/fd/0", "dev/stdin"));
    CHECK(symlink("/proc/self/fd/1", "dev/stdout"));
    CHECK(symlink("/proc/self/fd/2", "dev/stderr"));
    CHECK(symlink("pts/ptmx", "dev/ptmx"));
    tick("devices");
}

static void mask_paths(void) {
    static const char *const masked[] = {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                                         "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"};
    static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    for (size_t i = 0; i < COUNT(masked); i++)
        if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) < 0 && errno == ENOTDIR)
            CHECK(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, ""));
    tick("masked paths");
    for (size_t i = 0; i < COUNT(read_only); i++)
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) == 0)
            CHECK(mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL));
    tick("read-only paths");
}

static void make_root(void) {
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
    CHECK(mount(want.rootfs, want.rootfs, NULL, MS_BIND | MS_REC, NULL));
    CHECK(chdir(want.rootfs));
    tick("bind the rootfs");
    CHECK(mount("proc", "proc", "proc", 0, NULL));
    CHECK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    CHECK(mkdir("dev/pts", 0755));
    CHECK(mkdir("dev/shm", 0755));
    CHECK(mkdir("dev/mqueue", 0755));
    CHECK(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    CHECK(mount("shm", "dev/shm", "tmpfs", safe, "mode=1777,size=65536k"));
    CHECK(mount("mqueue", "dev/mqueue", "mqueue", safe, NULL));
    CHECK(mount("sysfs", "sys", "sysfs", safe | MS_RDONLY, NULL));
    tick("mount proc, dev, pts, shm, mqueue, sys");
    mount_cgroups();
    make_devices();
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
    CHECK(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    tick("pivot_root, root read-only");
    mask_paths();
}

static void drop_privileges(void) {
    const uint64_t keep = 1ull << CAP_AUDIT_WRITE | 1ull << CAP_KILL | 1ull << CAP_NET_BIND_SERVICE;
    const struct rlimit files = {1024, 1024};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{keep, keep, 0}, {keep >> 32, keep >> 32, 0}};
    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &files, NULL);
    for (int cap = 0; cap <= 40; cap++)
        if (!(keep >> cap & 1)) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    CHECK(syscall(SYS_capset, &header, sets));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    tick("capabilities, rlimit, no_new_privs");
}

static char *const environment[] = {"PATH=/bin", "TERM=xterm", NULL};
static int ready[2] = {-1, -1}, fifo = -1;

static int init(void *unused) {
    (void)unused;
    tick("clone3 to the child's first line");
    join_cgroups();
    setsid();
    umask(0);
    syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, "_ses.floor");
    CHECK(sethostname("bench", 5));
    tick("session, keyring, hostname");
    make_root();
    drop_privileges();
    if (fifo >= 0) { // create: say that all is done and wait for start
        char byte = 'r';
        if (write(ready[1], &byte, 1) != 1 || read(fifo, &byte, 1) != 1) _exit(112);
    }
    execve(want.program[0], want.program, environment);
    die(want.program[0]);
    return 0;
}

static char stack[65536] __attribute__((aligned(16)));

// The child shares the parent's memory: nothing is copied. With CLONE_VFORK the parent sleeps until execve.
static pid_t launch(int flags, int (*entry)(void *)) {
    pid_t pid = clone(entry, stack + sizeof stack, flags | CLONE_VM | SIGCHLD, NULL);
    if (pid < 0) die("clone");
    return pid;
}
static const int namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

// --- the verbs ---------------------------------------------------------------------------------------------------

static const char *root = "/run/corten-floor", *bundle = ".", *pid_file, *id;

static const char *in_state(const char *file) {
    static char path[2][2 * PATH];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s/%s", root, id, file);
    return path[turn];
}

static void write_file(const char *path, const char *text) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) die(path);
    close(fd);
}

static int verb_run_or_create(int create) {
    char text[2 * PATH], byte;
    read_bundle(bundle);
    CHECK(mkdir(in_state(""), 0711));
    if (create) {
        CHECK(mkfifo(in_state("exec.fifo"), 0600));
        CHECK(fifo = open(in_state("exec.fifo"), O_RDWR | O_CLOEXEC));
        CHECK(pipe2(ready, O_CLOEXEC));
    }
    make_cgroups();
    pid_t pid = launch(namespaces | (create ? 0 : CLONE_VFORK), init);
    if (create) {
        close(ready[1]);
        if (read(ready[0], &byte, 1) != 1) die("the init");
    }
    snprintf(text, sizeof text, "{\"ociVersion\":\"1.2.0\",\"id\":\"%s\",\"pid\":%d,\"bundle\":\"%s\",\"cgroup\":\"%s\"}", id, pid, bundle, want.cgroup);
    write_file(in_state("state.json"), text);
    if (pid_file) {
        snprintf(text, sizeof text, "%d", pid);
        write_file(pid_file, text);
    }
    if (create) _exit(0);
    int status;
    CHECK(wait4(pid, &status, 0, NULL));
    remove_cgroups(want.cgroup);
    unlink(in_state("state.json"));
    rmdir(in_state(""));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The init's pid and cgroup, from state.json.
static pid_t read_state(char cgroup[PATH]) {
    char text[2 * PATH];
    int fd = open(in_state("state.json"), O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length <= 0) die(in_state("state.json"));
    close(fd);
    text[length] = 0;
    char *pid = strstr(text, "\"pid\":"), *path = strstr(text, "\"cgroup\":\"");
    cgroup[0] = 0;
    if (path) sscanf(path, "\"cgroup\":\"%500[^\"]", cgroup);
    return pid ? atoi(pid + 6) : -1;
}

static int is_alive(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (length <= 0) return 0;
    text[length] = 0;
    char *state = strrchr(text, ')');
    return state && state[2] != 'Z' && state[2] != 'X';
}

static int verb_start(void) {
    int fd = open(in_state("exec.fifo"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) die("exec.fifo");
    return unlink(in_state("exec.fifo"));
}

static int verb_state(pid_t pid) {
    const char *status = !is_alive(pid) ? "stopped" : access(in_state("exec.fifo"), F_OK) == 0 ? "created" : "running";
    dprintf(1, "{\"ociVersion\":\"1.2.0\",\"id\":\"%s\",\"status\":\"%s\",\"pid\":%d,\"bundle\":\"%s\"}\n", id, status, pid, bundle);
    return 0;
}

static int verb_kill(pid_t pid, const char *name) {
    int fd = syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) die("pidfd_open");
    return syscall(SYS_pidfd_send_signal, fd, name && !strcmp(name, "KILL") ? SIGKILL : SIGTERM, NULL, 0) != 0;
}

static int exec_process(void *words) {
    (void)words;
    join_cgroups();
    setsid();
    drop_privileges();
    execve(want.program[0], want.program, environment);
    _exit(127);
}

static int verb_exec(pid_t pid, const char *cgroup, char *const *words) {
    char path[2 * PATH];
    snprintf(want.cgroup, sizeof want.cgroup, "%s", cgroup);
    want.program = words;
    for (int i = 0; i < HIERARCHIES && cgroup[0]; i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s%s/tasks", hierarchies[i], cgroup);
        tasks_fd[i] = open(path, O_WRONLY | O_CLOEXEC);
    }
    int fd = syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || setns(fd, namespaces) < 0) die("setns");
    int status;
    CHECK(wait4(launch(CLONE_VFORK, exec_process), &status, 0, NULL));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int verb_delete(pid_t pid, const char *cgroup) {
    if (is_alive(pid)) kill(pid, SIGKILL);
    remove_cgroups(cgroup);
    unlink(in_state("state.json"));
    unlink(in_state("exec.fifo"));
    return rmdir(in_state("")) != 0;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int verb_steps(int argc, char **argv) {
    int n = 30, rest_ms = 0, option, status;
    while ((option = getopt(argc, argv, "n:p:")) != -1) switch (option) {
        case 'n': n = atoi(optarg); break;
        case 'p': rest_ms = atoi(optarg); break;
        default: return 2;
        }
    if (n < 1 || n > MAX_RUNS || optind != argc - 1) return 2;
    read_bundle(argv[optind]);
    if (!(step_us = calloc(MAX_STEPS, sizeof *step_us))) die("calloc");
    for (current_run = 0; current_run < n; current_run++) {
        usleep(rest_ms * 1000);
        last_us = now_us();
        make_cgroups();
        pid_t pid = launch(namespaces | CLONE_VFORK, init);
        tick("execve");
        CHECK(wait4(pid, &status, 0, NULL));
        tick("the program runs, namespaces go");
        if (status) return 1;
        remove_cgroups(want.cgroup);
    }
    float sum = 0;
    for (int i = 0; i < step_count; i++) {
        qsort(step_us[i], n, sizeof(float), by_value);
        sum += step_us[i][n / 2];
        printf("%-40s %9.1f us   (p10 %.1f, p90 %.1f)\n", step_names[i], step_us[i][n / 2], step_us[i][n / 10], step_us[i][n * 9 / 10]);
    }
    printf("%-40s %9.1f us\n", "sum of the medians", sum);
    return 0;
}

int main(int argc, char **argv) {
    char cgroup[PATH];
    int i = 1;
    if (i + 1 < argc && !strcmp(argv[i], "--root")) root = argv[i + 1], i += 2;
    const char *verb = i < argc ? argv[i++] : "";
    if (!strcmp(verb, "steps")) return verb_steps(argc - 1, argv + 1);
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "--bundle")) bundle = argv[++i];
        else if (!strcmp(argv[i], "--pid-file")) pid_file = argv[++i];
    }
    if (i >= argc) return 2;
    id = argv[i++];
    if (!strcmp(verb, "run")) return verb_run_or_create(0);
    if (!strcmp(verb, "create")) return verb_run_or_create(1);
    if (!strcmp(verb, "start")) return verb_start();
    pid_t pid = read_state(cgroup);
    if (!strcmp(verb, "state")) return verb_state(pid);
    if (!strcmp(verb, "kill")) return verb_kill(pid, argv[i]);
    if (!strcmp(verb, "exec")) return verb_exec(pid, cgroup, argv + i);
    if (!strcmp(verb, "delete")) return verb_delete(pid, cgroup);
    return 2;
}
