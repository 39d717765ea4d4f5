// lifecycle: times the verbs of OCI runtimes from outside, whole process each (vfork and exec until reaped).
//
//   lifecycle -t TRUE_BUNDLE -s SLEEP_BUNDLE -r STATE_ROOT -i ID [-n N] [-w WARM] [-p MS] [-T MS] NAME=COMMAND...
//   lifecycle -c [-n N] [-w WARM] [-p MS] NAME=COMMAND...         times plain commands
//
// COMMAND is split at blanks, so a runtime may have global options: `crun-bare=crun --cgroup-manager=disabled`.
// Runtimes take turns, iteration by iteration, so that a noisy minute hits all of them. -p rests MS milliseconds before
// every command: the machine then does what a real one does between two containers, it lets RCU and the cgroup lock go
// idle. A verb that fails in the first warming-up iteration is left out for that runtime and reported as such.
//
// Output, one line each, fields separated by tabs:
//   time  OPERATION NAME N FAILED MEDIAN MIN P90 CPU       milliseconds; CPU is the median of user plus system time
//   rss   NAME KIB                                         the largest single process of all verbs (ru_maxrss)
//   init  NAME HWM PSS                                     the waiting init after `create`, KiB
//   out   OPERATION NAME MESSAGE                           left out, and the first line that the runtime wrote
//   self  KIB                                              this program's own size: no ru_maxrss can be below it
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RUNTIMES = 8, MAX_WORDS = 32 };
enum operation { RUN, CREATE, STATE, START, EXEC, KILL, DELETE, LIFE, OPERATIONS };
static const char *const operation_names[] = {"run", "create", "state", "start", "exec", "kill", "delete", "life"};

struct sample {
    double ms, cpu_ms, rested_ms;
    long rss_kib;
    int status; // exit code, 128 + signal, or -1 for a command that had to be killed after the time limit
};

struct series {
    float *ms, *cpu_ms;
    int count, failed, left_out;
    char message[256];
};

struct runtime {
    const char *name;
    char *words[MAX_WORDS];
    int word_count;
    struct series series[OPERATIONS];
    long rss_kib, init_hwm_kib, init_pss_kib;
    char root[256], pid_file[300], id[128];
};

static struct runtime runtimes[MAX_RUNTIMES];
static int runtime_count, rest_ms, limit_ms = 10000, dev_null, said;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void fail(const char *what) {
    fprintf(stderr, "lifecycle: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double ms_of(struct timeval t) { return t.tv_sec * 1e3 + t.tv_usec / 1e3; }

// Runs one command to its end. What it writes to stderr is kept in a memory file, and only for this command.
static struct sample spawn(char *const words[]) {
    struct sample sample = {0};
    struct rusage usage;
    int status;
    if (rest_ms) {
        double before = now_ms();
        struct timespec rest = {rest_ms / 1000, rest_ms % 1000 * 1000000L};
        nanosleep(&rest, NULL);
        sample.rested_ms = now_ms() - before;
    }
    if (ftruncate(said, 0) < 0 || lseek(said, 0, SEEK_SET) < 0) fail("memory file");
    double started = now_ms();
    pid_t pid = vfork();
    if (pid < 0) fail("vfork");
    if (pid == 0) {
        dup2(dev_null, 0);
        dup2(dev_null, 1);
        dup2(said, 2);
        execvp(words[0], words);
        _exit(127);
    }
    struct pollfd ended = {.fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    if (poll(&ended, 1, limit_ms) == 0) {
        sample.status = -1;
        kill(pid, SIGKILL);
    }
    if (wait4(pid, &status, 0, &usage) < 0) fail("wait4");
    sample.ms = now_ms() - started;
    close(ended.fd);
    sample.cpu_ms = ms_of(usage.ru_utime) + ms_of(usage.ru_stime);
    sample.rss_kib = usage.ru_maxrss;
    if (sample.status == 0) sample.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return sample;
}

// The first line of what the last command wrote to stderr.
static void first_line(char *line, size_t size) {
    ssize_t length = pread(said, line, size - 1, 0);
    line[length > 0 ? length : 0] = 0;
    line[strcspn(line, "\n\t")] = 0;
}

static void reap_orphans(void) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

static void record(struct runtime *rt, enum operation op, struct sample sample, int iteration) {
    struct series *series = &rt->series[op];
    if (sample.status != 0) {
        if (iteration >= 0 && series->count + series->failed > 0) {
            series->failed++;
        } else {
            series->left_out = 1;
            first_line(series->message, sizeof series->message);
            if (!series->message[0]) snprintf(series->message, sizeof series->message, "exit code %d", sample.status);
        }
        return;
    }
    if (iteration < 0) return;
    series->ms[series->count] = sample.ms;
    series->cpu_ms[series->count++] = sample.cpu_ms;
    if (sample.rss_kib > rt->rss_kib) rt->rss_kib = sample.rss_kib;
}

// `RUNTIME --root ROOT WORDS...`; the list ends with NULL.
static struct sample verb(struct runtime *rt, char *const words[]) {
    char *all[MAX_WORDS + 16];
    int n = 0;
    for (int i = 0; i < rt->word_count; i++) all[n++] = rt->words[i];
    all[n++] = "--root";
    all[n++] = rt->root;
    while (*words) all[n++] = *words++;
    all[n] = NULL;
    return spawn(all);
}
#define VERB(rt, ...) verb(rt, (char *const[]){__VA_ARGS__, NULL})

static pid_t read_pid(const char *file) {
    int pid = -1;
    FILE *f = fopen(file, "r");
    if (f) {
        if (fscanf(f, "%d", &pid) != 1) pid = -1;
        fclose(f);
    }
    return pid;
}

// Waits for the container's init, which has become our child when `create` ended.
static void wait_for_init(struct runtime *rt) {
    pid_t pid = read_pid(rt->pid_file);
    if (pid <= 0) return;
    struct pollfd ended = {.fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    if (ended.fd >= 0) {
        poll(&ended, 1, 3000);
        close(ended.fd);
    }
    waitpid(pid, NULL, WNOHANG);
}

static long read_kib(pid_t pid, const char *file, const char *key) {
    char path[64], line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    while (value < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) value = atol(line + strlen(key));
    fclose(f);
    return value;
}

static void delete_by_force(struct runtime *rt) {
    int rest = rest_ms;
    rest_ms = 0;
    VERB(rt, "delete", "--force", rt->id);
    rest_ms = rest;
    reap_orphans();
    unlink(rt->pid_file);
}

static void measure_run(struct runtime *rt, char *bundle, int iteration) {
    if (rt->series[RUN].left_out) return;
    struct sample sample = VERB(rt, "run", "--bundle", bundle, rt->id);
    record(rt, RUN, sample, iteration);
    if (sample.status) delete_by_force(rt);
    reap_orphans();
}

// create, start, the program's end and delete of /bin/true, as one time.
static void measure_life(struct runtime *rt, char *bundle, int iteration) {
    if (rt->series[LIFE].left_out) return;
    double started = now_ms();
    struct sample parts[3], life = {0};
    parts[0] = VERB(rt, "create", "--bundle", bundle, "--pid-file", rt->pid_file, rt->id);
    int done = 1;
    if (parts[0].status == 0) {
        parts[done++] = VERB(rt, "start", rt->id);
        if (parts[1].status == 0) {
            wait_for_init(rt);
            parts[done++] = VERB(rt, "delete", rt->id);
        }
    }
    life.ms = now_ms() - started;
    for (int i = 0; i < done; i++) {
        life.ms -= parts[i].rested_ms;
        life.cpu_ms += parts[i].cpu_ms;
        life.status |= parts[i].status;
        if (parts[i].rss_kib > life.rss_kib) life.rss_kib = parts[i].rss_kib;
    }
    record(rt, LIFE, life, iteration);
    if (life.status) delete_by_force(rt);
    reap_orphans();
    unlink(rt->pid_file);
}

// One verb after another on a container that sleeps.
static void measure_verbs(struct runtime *rt, char *bundle, int iteration) {
    if (rt->series[CREATE].left_out) return;
    struct sample sample = VERB(rt, "create", "--bundle", bundle, "--pid-file", rt->pid_file, rt->id);
    record(rt, CREATE, sample, iteration);
    if (sample.status) {
        delete_by_force(rt);
        return;
    }
    if (rt->init_hwm_kib == 0) {
        pid_t pid = read_pid(rt->pid_file);
        rt->init_hwm_kib = read_kib(pid, "status", "VmHWM:");
        rt->init_pss_kib = read_kib(pid, "smaps_rollup", "Pss:");
    }
    if (!rt->series[STATE].left_out) record(rt, STATE, VERB(rt, "state", rt->id), iteration);
    if (!rt->series[START].left_out) record(rt, START, VERB(rt, "start", rt->id), iteration);
    if (!rt->series[EXEC].left_out) record(rt, EXEC, VERB(rt, "exec", rt->id, "/bin/true"), iteration);
    if (!rt->series[KILL].left_out) record(rt, KILL, VERB(rt, "kill", rt->id, "KILL"), iteration);
    if (!rt->series[DELETE].left_out) {
        wait_for_init(rt);
        record(rt, DELETE, sample = VERB(rt, "delete", rt->id), iteration);
    }
    if (rt->series[DELETE].left_out || sample.status) delete_by_force(rt);
    reap_orphans();
    unlink(rt->pid_file);
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(const float *sorted, int count, double part) {
    return count ? sorted[(int)(part * (count - 1) + 0.5)] : -1;
}

static void print_series(const char *operation, const char *name, struct series *series) {
    if (series->left_out) printf("out\t%s\t%s\t%s\n", operation, name, series->message);
    if (!series->count) return;
    qsort(series->ms, series->count, sizeof *series->ms, by_value);
    qsort(series->cpu_ms, series->count, sizeof *series->cpu_ms, by_value);
    printf("time\t%s\t%s\t%d\t%d\t%.3f\t%.3f\t%.3f\t%.3f\n", operation, name, series->count, series->failed,
           quantile(series->ms, series->count, 0.5), series->ms[0], quantile(series->ms, series->count, 0.9),
           quantile(series->cpu_ms, series->count, 0.5));
}

// Splits NAME=COMMAND and makes room for n samples of each operation.
static void add_runtime(char *argument, int n, int operations) {
    char *command = strchr(argument, '=');
    if (!command || runtime_count == MAX_RUNTIMES) {
        fprintf(stderr, "lifecycle: want at most %d of NAME=COMMAND, have %s\n", MAX_RUNTIMES, argument);
        exit(2);
    }
    *command++ = 0;
    struct runtime *rt = &runtimes[runtime_count++];
    rt->name = argument;
    for (char *word = strtok(command, " "); word && rt->word_count < MAX_WORDS - 1; word = strtok(NULL, " "))
        rt->words[rt->word_count++] = word;
    for (int op = 0; op < operations; op++) {
        rt->series[op].ms = malloc(n * sizeof(float));
        rt->series[op].cpu_ms = malloc(n * sizeof(float));
        if (!rt->series[op].ms || !rt->series[op].cpu_ms) fail("malloc");
    }
}

int main(int argc, char **argv) {
    int n = 30, warm = 2, plain = 0, option;
    char *true_bundle = NULL, *sleep_bundle = NULL, *root = NULL, *id = NULL;
    while ((option = getopt(argc, argv, "+n:w:p:T:t:s:r:i:c")) != -1) switch (option) {
        case 'n': n = atoi(optarg); break;
        case 'w': warm = atoi(optarg); break;
        case 'p': rest_ms = atoi(optarg); break;
        case 'T': limit_ms = atoi(optarg); break;
        case 't': true_bundle = optarg; break;
        case 's': sleep_bundle = optarg; break;
        case 'r': root = optarg; break;
        case 'i': id = optarg; break;
        case 'c': plain = 1; break;
        default: return 2;
        }
    if (optind == argc || n < 1 || warm < 1 || (!plain && !(true_bundle && sleep_bundle && root && id))) {
        fprintf(stderr, "lifecycle: see the head of lifecycle.c for how to call it\n");
        return 2;
    }
    for (int i = optind; i < argc; i++) add_runtime(argv[i], n, plain ? 1 : OPERATIONS);
    dev_null = open("/dev/null", O_RDWR | O_CLOEXEC);
    said = memfd_create("stderr", MFD_CLOEXEC);
    if (dev_null < 0 || said < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) fail("start");
    for (int r = 0; r < runtime_count && !plain; r++) {
        struct runtime *rt = &runtimes[r];
        snprintf(rt->root, sizeof rt->root, "%s/%d", root, r);
        snprintf(rt->pid_file, sizeof rt->pid_file, "%s.pid", rt->root);
        snprintf(rt->id, sizeof rt->id, "%s-%d", id, r);
        if (mkdir(rt->root, 0711) < 0 && errno != EEXIST) fail(rt->root);
    }
    for (int i = -warm; i < n; i++)
        for (int r = 0; r < runtime_count; r++) {
            struct runtime *rt = &runtimes[r];
            if (plain) {
                record(rt, RUN, spawn(rt->words), i);
                continue;
            }
            measure_run(rt, true_bundle, i);
            measure_life(rt, true_bundle, i);
            measure_verbs(rt, sleep_bundle, i);
        }
    struct rusage self;
    getrusage(RUSAGE_SELF, &self);
    for (int r = 0; r < runtime_count; r++) {
        struct runtime *rt = &runtimes[r];
        for (int op = 0; op < (plain ? 1 : OPERATIONS); op++) print_series(operation_names[op], rt->name, &rt->series[op]);
        printf("rss\t%s\t%ld\n", rt->name, rt->rss_kib);
        if (rt->init_hwm_kib > 0) printf("init\t%s\t%ld\t%ld\n", rt->name, rt->init_hwm_kib, rt->init_pss_kib);
    }
    printf("self\t%ld\n", self.ru_maxrss);
    return 0;
}
