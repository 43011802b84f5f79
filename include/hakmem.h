/* SPDX-License-Identifier: MIT
 *
 * hakmem.h - steer the libhakmem memory allocator.
 *
 * libhakmem interposes malloc(3) and its family; this header is only needed by
 * programs that want to flush its caches, give memory back at a moment of their
 * choosing, read its counters or ask about an address.  See hakmem(3) and
 * hakmem_ctl(3).
 *
 * All functions are thread-safe.  None is async-signal-safe.
 */
#ifndef HAKMEM_H
#define HAKMEM_H 1

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && __GNUC__ >= 4
#define HAKMEM_API __attribute__((visibility("default")))
#else
#define HAKMEM_API
#endif

/* Operations of hakmem_ctl().  Numbers never change; new ones are added at the end. */
enum hakmem_op {
	HAKMEM_FLUSH = 1,   /* struct hakmem_flush *, or NULL: empty every cache */
	HAKMEM_RELEASE = 2, /* struct hakmem_release *, or NULL: flush, give memory back */
	HAKMEM_STATS = 3,   /* struct hakmem_stats *: a consistent snapshot */
	HAKMEM_DUMP = 4,    /* struct hakmem_dump *: write the statistics */
	HAKMEM_GET = 5,     /* struct hakmem_option *: the value of an option */
	HAKMEM_SET = 6,     /* struct hakmem_option *: change an option */
	HAKMEM_QUERY = 7,   /* struct hakmem_query *: what is this address */
	HAKMEM_CHECK = 8,   /* NULL: verify every invariant, or abort() with a report */
	HAKMEM_LEAKS = 9    /* struct hakmem_leaks *: the leak report (debug library) */
};

/* Values of hakmem_flush.scope. */
enum { HAKMEM_ALL = 0, HAKMEM_SELF = 1 };

/* Values of hakmem_dump.format and hakmem_leaks.format. */
enum { HAKMEM_TEXT = 0, HAKMEM_JSON = 1, HAKMEM_OPENMETRICS = 2 };

/* Values of hakmem_query.kind. */
enum { HAKMEM_NONE = 0, HAKMEM_SMALL = 1, HAKMEM_MEDIUM = 2, HAKMEM_LARGE = 3 };

/*
 * Values of hakmem_query.state.  In the production library a block that lies in
 * another thread's magazine may be told as live: the library keeps no record of
 * blocks apart from the magazine itself.
 */
enum { HAKMEM_FREE = 0, HAKMEM_LIVE = 1, HAKMEM_CACHED = 2 };

/* HAKMEM_FLUSH.  Since 0.1.0. */
struct hakmem_flush {
	uint32_t scope;     /* in:  HAKMEM_ALL or HAKMEM_SELF */
	uint32_t reserved;  /* in:  0 */
	uint64_t blocks;    /* out: blocks that left a cache */
	uint64_t bytes;     /* out: their size in bytes */
	uint64_t unreached; /* out: caches that could not be reached */
};

/* HAKMEM_RELEASE.  Since 0.1.0. */
struct hakmem_release {
	uint32_t flags;             /* in:  0 */
	uint32_t reserved;          /* in:  0 */
	uint64_t superslabs;        /* out: SuperSlabs unmapped */
	uint64_t bytes;             /* out: bytes given back to the kernel */
	uint64_t pinned_superslabs; /* out: SuperSlabs that stay */
	uint64_t pinned_blocks;     /* out: the live blocks that hold them */
	uint64_t pinned_bytes;      /* out: free bytes that those hold back */
};

/*
 * HAKMEM_STATS.  All fields: out.  Since 0.1.0.
 * Names that end in _total count events since the process began; bytes are bytes.
 */
struct hakmem_stats {
	uint64_t bytes_live; /* held by the program, at block size */
	uint64_t blocks_live;
	uint64_t bytes_cached; /* free blocks in magazines and depots */
	uint64_t blocks_cached;
	uint64_t bytes_mapped;    /* address space held */
	uint64_t bytes_committed; /* the part of it that is not purged */
	uint64_t bytes_metadata;  /* the allocator's own bookkeeping */
	uint64_t superslabs_live;
	uint64_t superslabs_cached;   /* empty, kept in the LRU cache */
	uint64_t superslabs_hot;      /* new, or more than a quarter in use */
	uint64_t superslabs_draining; /* a quarter or less, after more: left to empty */
	uint64_t superslabs_mapped_total;
	uint64_t superslabs_unmapped_total;
	uint64_t slabs_active;
	uint64_t slabs_empty; /* slots whose pages may still be resident */
	uint64_t large_live;  /* blocks with a mapping of their own */
	uint64_t large_bytes;
	uint64_t refills_total; /* slabs to magazine */
	uint64_t spills_total;  /* magazine to slabs */
	uint64_t flushes_total;
	uint64_t releases_total;
	uint64_t purged_bytes_total;
	uint64_t lock_contended_total;
	uint64_t failed_total;       /* requests answered with NULL */
	uint64_t superslabs_phantom; /* live, but only by blocks in magazines and depots */
	uint64_t bytes_purged;       /* pages inside slots in use that are purged */
	uint64_t thp_splits_total; /* SuperSlabs that lost their huge pages to a purge */
	uint64_t bytes_thp;        /* address space for which huge pages are asked */
};

/* HAKMEM_DUMP.  Since 0.1.0. */
struct hakmem_dump {
	int32_t fd;      /* in: an open, writable descriptor */
	uint32_t format; /* in: HAKMEM_TEXT, HAKMEM_JSON or HAKMEM_OPENMETRICS */
};

/* HAKMEM_GET, HAKMEM_SET.  Since 0.1.0. */
struct hakmem_option {
	const char *name; /* in: "tiny_profile" for HAKMEM_TINY_PROFILE, and so on */
	char value[64]; /* GET: out, SET: in; the text one would put in the environment */
};

/* HAKMEM_QUERY.  Since 0.1.0. */
struct hakmem_query {
	const void *address; /* in:  any address at all */
	uint32_t kind;       /* out: HAKMEM_NONE, _SMALL, _MEDIUM or _LARGE */
	uint32_t state;      /* out: HAKMEM_FREE, _LIVE or _CACHED */
	uint64_t block; /* out: address of the block's first byte; 0 if in no block */
	uint64_t usable_size; /* out: bytes from there that the program may use */
	uint64_t class_size;  /* out: block size of its size class; 0 if it has none */
	uint64_t slab;        /* out: address of the slab, or slot; 0 if none */
	uint64_t slab_size;   /* out: its bytes */
	uint64_t superslab;   /* out: address of the SuperSlab; 0 if none */
	uint64_t thread;      /* out: debug library: thread that allocated it; else 0 */
	uint64_t frames;    /* out: debug library: program counters in stack[]; else 0 */
	uint64_t stack[32]; /* out: debug library: the allocating stack, innermost first */
};

/* HAKMEM_LEAKS.  Debug library; elsewhere ENOTSUP.  Since 0.1.0. */
struct hakmem_leaks {
	int32_t fd;      /* in:  an open, writable descriptor */
	uint32_t format; /* in:  HAKMEM_TEXT or HAKMEM_JSON */
	uint64_t since;  /* in:  only blocks allocated after this mark; 0: all */
	uint64_t mark;   /* out: the mark of now, for a later call's since */
	uint64_t blocks; /* out: blocks reported */
	uint64_t bytes;  /* out: their size in bytes */
};

/*
 * Perform one operation.
 *
 * arg points to the operation's struct, size is its sizeof as the caller was
 * compiled: a shorter struct than the library's is served as far as it goes, a
 * longer one must be zero where the library does not know it (as in openat2(2)).
 * arg may be NULL and size 0 for HAKMEM_FLUSH, HAKMEM_RELEASE and HAKMEM_CHECK.
 *
 * Returns 0, or -1 with errno: EINVAL (unknown operation, bad value or flag),
 * E2BIG (non-zero bytes beyond the known struct), EFAULT (NULL where a struct is
 * needed), ENOTSUP (not in this build), ENOENT (unknown option), EACCES (option
 * can only be set at start), ENOMEM; for HAKMEM_DUMP and HAKMEM_LEAKS also the
 * errors of write(2).  A call that fails changes nothing.
 *
 * Thread-safe; not async-signal-safe.  Since 0.1.0.
 */
HAKMEM_API int hakmem_ctl(enum hakmem_op op, void *arg, size_t size);

/*
 * The library's version at run time, "MAJOR.MINOR.PATCH"; a static string.
 * Thread-safe and async-signal-safe.  Since 0.1.0.
 */
HAKMEM_API const char *hakmem_version(void);

#ifdef __cplusplus
}
#endif

#endif /* HAKMEM_H */
