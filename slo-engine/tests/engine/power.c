/* Notes what a process does to the files below one folder, so that a test can build that folder as it would be after the
 * power failed. Preloaded by power.rs; reads PQSCOPE_POWER_FOLDER and PQSCOPE_POWER_LOG.
 *
 * A record: kind (1 byte), number (4), offset (8), length (4), then as many bytes. Numbers count opens: a file keeps its
 * number when it is renamed, and all folders share one. sync_file_range is passed through unnoted: it promises nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 4096
#define A_FOLDER UINT32_MAX
static uint32_t number_of[MOST_FILES];
static uint32_t opened;
static int log_file = -1;
static const char *folder;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void note(char kind, uint32_t number, uint64_t offset, const void *bytes, uint32_t length) {
    char head[17];
    head[0] = kind;
    memcpy(head + 1, &number, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &length, 4);
    struct iovec parts[2] = {{head, 17}, {(void *)bytes, length}};
    if (writev(log_file, parts, length ? 2 : 1) != (ssize_t)(17 + length)) abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PQSCOPE_POWER_LOG");
    folder = getenv("PQSCOPE_POWER_FOLDER");
    if (!path || !folder) return;
    log_file = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_ours(const char *path) {
    return log_file >= 0 && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int note_open(int file, const char *path, int flags) {
    if (file < 0 || file >= MOST_FILES) return file;
    struct stat about;
    int is_file = fstat(file, &about) == 0 && S_ISREG(about.st_mode);
    pthread_mutex_lock(&guard);
    int is_folder = !is_file && fstat(file, &about) == 0 && S_ISDIR(about.st_mode);
    number_of[file] = is_folder && is_ours(path) ? A_FOLDER : 0;
    if (is_file && is_ours(path)) {
        number_of[file] = ++opened;
        note('o', opened, (flags & O_TRUNC) ? 1 : 0, path, strlen(path));
    }
    pthread_mutex_unlock(&guard);
    return file;
}

static uint32_t number(int file) {
    return log_file >= 0 && file >= 0 && file < MOST_FILES && file != log_file ? number_of[file] : 0;
}

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = va_arg(rest, mode_t);                                     \
        va_end(rest);                                                           \
        return note_open(REAL(name)(path, flags, mode), path, flags);           \
    }
OPEN(open)
OPEN(open64)

/* The whole path of a name below an open folder. */
static const char *whole(int below, const char *name, char *path) {
    if (log_file < 0 || below == AT_FDCWD || name[0] == '/') return name;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", below);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0 || length + 1 + strlen(name) >= PATH_MAX) abort();
    path[length] = '/';
    strcpy(path + length + 1, name);
    return path;
}

#define OPENAT(name)                                                            \
    int name(int below, const char *path, int flags, ...) {                     \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = va_arg(rest, mode_t);                                     \
        va_end(rest);                                                           \
        char all[PATH_MAX];                                                     \
        int file = REAL(name)(below, path, flags, mode);                        \
        return note_open(file, whole(below, path, all), flags);                 \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int file) {
    if (number(file)) number_of[file] = 0;
    return REAL(close)(file);
}

ssize_t write(int file, const void *bytes, size_t length) {
    uint32_t of = number(file);
    if (!of) return REAL(write)(file, bytes, length);
    pthread_mutex_lock(&guard);
    ssize_t done = REAL(write)(file, bytes, length);
    if (done > 0) note('w', of, lseek(file, 0, SEEK_CUR) - done, bytes, done);
    pthread_mutex_unlock(&guard);
    return done;
}

#define PWRITE(name, offset_type)                                               \
    ssize_t name(int file, const void *bytes, size_t length, offset_type at) {  \
        uint32_t of = number(file);                                             \
        if (!of) return REAL(name)(file, bytes, length, at);                    \
        pthread_mutex_lock(&guard);                                             \
        ssize_t done = REAL(name)(file, bytes, length, at);                     \
        if (done > 0) note('w', of, at, bytes, done);                           \
        pthread_mutex_unlock(&guard);                                           \
        return done;                                                            \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, offset_type)                                             \
    int name(int file, offset_type length) {                                    \
        int done = REAL(name)(file, length);                                    \
        uint32_t of = number(file);                                             \
        if (of && done == 0) {                                                  \
            pthread_mutex_lock(&guard);                                         \
            note('t', of, length, 0, 0);                                        \
            pthread_mutex_unlock(&guard);                                       \
        }                                                                       \
        return done;                                                            \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* What was written before the call is safe after it; what comes while it runs is not. */
#define SYNC(name)                                                              \
    int name(int file) {                                                        \
        uint32_t of = number(file);                                             \
        if (!of) return REAL(name)(file);                                       \
        pthread_mutex_lock(&guard);                                             \
        note('s', of, 0, 0, 0);                                                 \
        pthread_mutex_unlock(&guard);                                           \
        int done = REAL(name)(file);                                            \
        pthread_mutex_lock(&guard);                                             \
        if (done == 0) note('S', of, 0, 0, 0);                                  \
        pthread_mutex_unlock(&guard);                                           \
        return done;                                                            \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    int done = REAL(rename)(from, to);
    if (done == 0 && is_ours(from)) {
        char both[8192];
        size_t first = strlen(from), second = strlen(to);
        if (first + second + 1 > sizeof both) abort();
        memcpy(both, from, first + 1);
        memcpy(both + first + 1, to, second);
        pthread_mutex_lock(&guard);
        note('r', 0, 0, both, first + 1 + second);
        pthread_mutex_unlock(&guard);
    }
    return done;
}

static void note_removal(const char *path) {
    if (!is_ours(path)) return;
    pthread_mutex_lock(&guard);
    note('u', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&guard);
}

int unlink(const char *path) {
    int done = REAL(unlink)(path);
    if (done == 0) note_removal(path);
    return done;
}

int unlinkat(int below, const char *path, int flags) {
    char all[PATH_MAX];
    const char *removed = whole(below, path, all);
    int done = REAL(unlinkat)(below, path, flags);
    if (done == 0 && !(flags & AT_REMOVEDIR)) note_removal(removed);
    return done;
}
