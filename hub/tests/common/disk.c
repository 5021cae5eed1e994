/* A disk that fails or is slow, for tests: preloaded into a hub, it stands between that and libc for regular files
 * and folders below one folder. What it is to do it reads from a control file, which the test writes; `disk.rs` has
 * the same layout.
 *
 * After a failed sync the kernel may drop what was written since the last good one and still answer the next sync
 * with success (fsyncgate). So here a failed sync overwrites that part of a log with zeros: a store that trusts it
 * has lost it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FAIL_WRITES = 1, FAIL_SYNCS = 2 };

struct control {
    /* Told by the test. */
    _Atomic uint32_t fails;
    _Atomic uint32_t write_ms, sync_ms;
    /* So many calls of a kind that fails still work. */
    _Atomic int32_t spared;
    /* Told to the test. */
    _Atomic uint32_t failed_writes, failed_syncs, torn_writes, dropped_bytes, slow_calls;
};

/* How long a log was at its last good sync. */
struct log {
    dev_t device;
    ino_t number;
    off_t bytes;
};

static struct control nothing, *control = &nothing;
static char folder[4096];
static size_t folder_length;
static struct log logs[4096];
static size_t log_count;
static pthread_mutex_t logs_lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_sync_file_range)(int, off64_t, off64_t, unsigned);
static int (*real_fallocate64)(int, int, off64_t, off64_t);

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_sync_file_range = dlsym(RTLD_NEXT, "sync_file_range");
    real_fallocate64 = dlsym(RTLD_NEXT, "fallocate64");
    const char *control_path = getenv("HEAPTIDE_TEST_DISK_CONTROL");
    const char *folder_path = getenv("HEAPTIDE_TEST_DISK_FOLDER");
    if (!control_path || !folder_path) return;
    int file = open(control_path, O_RDWR | O_CLOEXEC);
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || mapped == MAP_FAILED || strlen(folder_path) >= sizeof folder) {
        fprintf(stderr, "the test's disk can't read %s\n", control_path);
        _exit(99);
    }
    close(file);
    strcpy(folder, folder_path);
    folder_length = strlen(folder);
    control = mapped;
}

/* Whether a file is on the disk, and its name there. */
static int is_ours(int file, char *name, size_t room) {
    struct stat found;
    if (!folder_length || fstat(file, &found) || !(S_ISREG(found.st_mode) || S_ISDIR(found.st_mode))) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, room - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return !strncmp(name, folder, folder_length) && (name[folder_length] == '/' || !name[folder_length]);
}

static int is_log(const char *name) {
    size_t length = strlen(name);
    return length > 4 && !strcmp(name + length - 4, ".htl");
}

static void wait_ms(uint32_t ms) {
    if (!ms) return;
    atomic_fetch_add(&control->slow_calls, 1);
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

static int fails(uint32_t kind) {
    return (control->fails & kind) && atomic_fetch_sub(&control->spared, 1) <= 0;
}

/* How much of a write to let through: all, a part, or -1 for an error. Every other failing write is torn first. */
static ssize_t allowed(int file, size_t length) {
    char name[4096];
    if (!control->fails && !control->write_ms) return length;
    if (!is_ours(file, name, sizeof name)) return length;
    wait_ms(control->write_ms);
    if (!fails(FAIL_WRITES)) return length;
    if (length > 1 && (control->failed_writes + control->torn_writes) % 2 == 0) {
        atomic_fetch_add(&control->torn_writes, 1);
        return length / 2;
    }
    atomic_fetch_add(&control->failed_writes, 1);
    return -1;
}

ssize_t write(int file, const void *bytes, size_t length) {
    ssize_t part = allowed(file, length);
    if (part < 0) return errno = EIO, -1;
    return real_write(file, bytes, part);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (allowed(file, 1) < 0) return errno = EIO, -1;
    return real_writev(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    ssize_t part = allowed(file, length);
    if (part < 0) return errno = EIO, -1;
    return real_pwrite64(file, bytes, part, at);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) {
    return pwrite64(file, bytes, length, at);
}

static struct log *log_of(const struct stat *found) {
    for (size_t at = 0; at < log_count; at++)
        if (logs[at].device == found->st_dev && logs[at].number == found->st_ino) return &logs[at];
    if (log_count == sizeof logs / sizeof *logs) {
        fprintf(stderr, "the test's disk knows too many logs\n");
        _exit(99);
    }
    logs[log_count] = (struct log){found->st_dev, found->st_ino, 0};
    return &logs[log_count++];
}

static void drop_what_is_not_synced(int file) {
    static const char zeros[4096];
    struct stat found;
    if (fstat(file, &found)) return;
    pthread_mutex_lock(&logs_lock);
    struct log *log = log_of(&found);
    for (off_t at = log->bytes; at < found.st_size;) {
        off_t left = found.st_size - at, most = sizeof zeros;
        size_t length = left < most ? left : most;
        ssize_t written = real_pwrite64(file, zeros, length, at);
        if (written <= 0) break;
        atomic_fetch_add(&control->dropped_bytes, (uint32_t)written);
        at += written;
    }
    pthread_mutex_unlock(&logs_lock);
}

static int sync_with(int file, int (*real)(int)) {
    char name[4096];
    int ours = is_ours(file, name, sizeof name);
    if (ours) wait_ms(control->sync_ms);
    if (ours && fails(FAIL_SYNCS)) {
        atomic_fetch_add(&control->failed_syncs, 1);
        if (is_log(name)) drop_what_is_not_synced(file);
        return errno = EIO, -1;
    }
    struct stat found;
    int answer = real(file);
    if (ours && !answer && is_log(name) && !fstat(file, &found)) {
        pthread_mutex_lock(&logs_lock);
        log_of(&found)->bytes = found.st_size;
        pthread_mutex_unlock(&logs_lock);
    }
    return answer;
}

int fsync(int file) {
    return sync_with(file, real_fsync);
}

int fdatasync(int file) {
    return sync_with(file, real_fdatasync);
}

int sync_file_range(int file, off64_t from, off64_t length, unsigned flags) {
    char name[4096];
    if (is_ours(file, name, sizeof name) && fails(FAIL_SYNCS)) return errno = EIO, -1;
    return real_sync_file_range(file, from, length, flags);
}

int fallocate64(int file, int mode, off64_t from, off64_t length) {
    if (allowed(file, 1) < 0) return errno = EIO, -1;
    return real_fallocate64(file, mode, from, length);
}

int fallocate(int file, int mode, off_t from, off_t length) {
    return fallocate64(file, mode, from, length);
}
