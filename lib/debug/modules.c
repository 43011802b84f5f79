/* SPDX-License-Identifier: MIT
 *
 * modules.c - the objects of the process, those of now and those that were.
 *
 * Owns the list of unloaded objects and the paths, which only grow, and dlclose(), which is
 * interposed so that no object goes unseen.  (What libc unloads by itself, as iconv() does
 * with its converters, does not come by here.)  dlopen() is not interposed: the loader looks
 * for the library, by RUNPATH and $ORIGIN, and for the namespace on behalf of the object that
 * calls it, and that would be this one.
 *
 * The generation is read for each stack; all else is for reports, and for dlclose().  What a
 * report asks takes no lock, neither ours nor the loader's, which another thread may hold and
 * wait to report, too: so it is _dl_find_object() that tells what is loaded, not dladdr().
 * Only dlclose() takes the lock here, a leaf, to note what has gone.
 */
#define _GNU_SOURCE
#include "debug/modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debug/options.h"
#include "lock.h"
#include "os.h"
#include "pretend.h"

static struct hk_lock lock;

/* ---- memory that is never given back ---- */

#define KEPT_BYTES ((size_t)16 << 20) /* addresses; pages come as they are used */

static char *_Atomic kept;
static _Atomic size_t kept_used;

static void *keep(size_t bytes)
{
	char *base = atomic_load_explicit(&kept, memory_order_acquire), *mapped;
	size_t offset;

	if (!base) {
		mapped = hk_os_map(KEPT_BYTES, hk_os_page_size, NULL);
		if (!mapped)
			return NULL;
		if (atomic_compare_exchange_strong(&kept, &base, mapped))
			base = mapped;
		else
			hk_os_unmap(mapped, KEPT_BYTES);
	}
	bytes = hk_align_up(bytes, sizeof(uintptr_t));
	offset = atomic_fetch_add_explicit(&kept_used, bytes, memory_order_relaxed);
	return offset + bytes <= KEPT_BYTES ? base + offset : NULL;
}

struct path {
	struct path *next;
	char text[];
};

static struct path *_Atomic paths;

/* Each path once, so that equal ones are equal pointers, but for those of a race. */
static const char *keep_path(const char *text)
{
	struct path *head = atomic_load_explicit(&paths, memory_order_acquire), *path;
	size_t size = strlen(text) + 1;

	for (path = head; path; path = path->next)
		if (strcmp(path->text, text) == 0)
			return path->text;
	path = keep(sizeof(*path) + size);
	if (!path)
		return "?";
	memcpy(path->text, text, size);
	do
		path->next = head;
	while (!atomic_compare_exchange_weak_explicit(
		&paths, &head, path, memory_order_release, memory_order_relaxed));
	return path->text;
}

/*
 * The absolute path of what the loader calls so: the program has no name there, and an object
 * that was opened by a relative one keeps it.  The vDSO's is no path, and stays.
 */
static const char *path_of(const char *name)
{
	char text[PATH_MAX];
	ssize_t length;
	size_t used;

	if (!*name) {
		length = readlink("/proc/self/exe", text, sizeof(text) - 1);
		if (length <= 0)
			return "?";
		text[length] = '\0';
		return keep_path(text);
	}
	if (*name == '/' || !strchr(name, '/'))
		return keep_path(name);
	if (!getcwd(text, sizeof(text)))
		return keep_path(name);
	used = strlen(text);
	if (used + 1 + strlen(name) >= sizeof(text))
		return keep_path(name);
	text[used] = '/';
	strcpy(text + used + 1, name);
	return keep_path(text);
}

/* ---- objects that have gone ---- */

/* Written before it is put in front of the list; last may grow later. */
struct gone {
	struct gone *next;
	const char *path;
	uintptr_t bias, start, end;
	_Atomic uint32_t last; /* the generation in which it was last there */
};

static struct gone *_Atomic all_gone;
static _Atomic uint32_t generation;
static _Atomic uint32_t reused;
static unsigned held;

uint32_t hk_modules_generation(void)
{
	return atomic_load_explicit(&generation, memory_order_relaxed);
}

uint32_t hk_modules_reused(void)
{
	return atomic_load_explicit(&reused, memory_order_relaxed);
}

/* Under the lock: from the next generation on, other code may stand where code stood. */
static void note_reused(void)
{
	atomic_store_explicit(&reused,
			      atomic_load_explicit(&generation, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* Ranges at most: each may be one of the 65,530 mappings that the kernel allows. */
#define HELD_MAX 4096

/* Let nothing be mapped there any more: addresses, without memory. */
static bool hold(uintptr_t start, uintptr_t end)
{
	void *wanted = (void *)start, *got;

	if (held >= HELD_MAX)
		return false;
	got = mmap(wanted, end - start, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
		   0);
	if (got == MAP_FAILED)
		return false;
	if (got != wanted) { /* a kernel before 4.17, which takes it for a hint */
		munmap(got, end - start);
		return false;
	}
	held++;
	return true;
}

/* Under the lock. */
static void note_gone(const struct gone *object, uint32_t before)
{
	uint32_t now = atomic_load_explicit(&generation, memory_order_relaxed);
	struct gone *head = atomic_load_explicit(&all_gone, memory_order_relaxed), *gone;

	/* The last that was anywhere there; if it is the same again, that lasted longer. */
	for (gone = head; gone; gone = gone->next)
		if (gone->start < object->end && object->start < gone->end)
			break;
	if (gone && gone->path == object->path && gone->bias == object->bias &&
	    gone->start == object->start && gone->end == object->end) {
		/* Else another dlclose() at the same time has seen it go. */
		if (atomic_load_explicit(&gone->last, memory_order_relaxed) < before)
			atomic_store_explicit(&gone->last, now, memory_order_relaxed);
		return;
	}
	gone = keep(sizeof(*gone));
	if (!gone)
		return;
	gone->next = head;
	gone->path = object->path;
	gone->bias = object->bias;
	gone->start = object->start;
	gone->end = object->end;
	atomic_init(&gone->last, now);
	atomic_store_explicit(&all_gone, gone, memory_order_release);
	if (hk_debug_options.unwinder == HK_UNWIND_LIBUNWIND &&
	    !hold(object->start, object->end))
		note_reused();
}

/* ---- dlclose() ---- */

struct object {
	uintptr_t bias, start, end;
	const char *name; /* a copy */
	bool there;
};

struct snapshot {
	size_t bytes;
	size_t capacity, count;
	unsigned long long unloads; /* of the loader, up to then */
	char *names, *names_end;
	struct object objects[];
};

static void range_of(const struct dl_phdr_info *info, uintptr_t *start, uintptr_t *end)
{
	uintptr_t page = hk_os_page_size;

	*start = UINTPTR_MAX;
	*end = 0;
	for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t first = info->dlpi_addr + header->p_vaddr;

		if (header->p_type != PT_LOAD)
			continue;
		if ((first & -page) < *start)
			*start = first & -page;
		if (hk_align_up(first + header->p_memsz, page) > *end)
			*end = hk_align_up(first + header->p_memsz, page);
	}
}

static int measure(struct dl_phdr_info *info, size_t size, void *context)
{
	size_t *bytes = context;

	(void)size;
	*bytes += sizeof(struct object) + strlen(info->dlpi_name) + 1;
	return 0;
}

static int copy(struct dl_phdr_info *info, size_t size, void *context)
{
	struct snapshot *snapshot = context;
	struct object *object = &snapshot->objects[snapshot->count];
	size_t length = strlen(info->dlpi_name) + 1;

	(void)size;
	snapshot->unloads = info->dlpi_subs;
	/* Those that other threads have loaded meanwhile may find no room. */
	if ((char *)(object + 1) > snapshot->names - length)
		return 1;
	snapshot->names -= length;
	memcpy(snapshot->names, info->dlpi_name, length);
	object->bias = info->dlpi_addr;
	range_of(info, &object->start, &object->end);
	object->name = snapshot->names;
	object->there = false;
	snapshot->count++;
	return 0;
}

/* Objects from the front, their names from the end; NULL: no memory. */
static struct snapshot *take_snapshot(void)
{
	size_t bytes = sizeof(struct snapshot) + hk_os_page_size;
	struct snapshot *snapshot;

	dl_iterate_phdr(measure, &bytes);
	bytes = hk_align_up(bytes, hk_os_page_size);
	snapshot = hk_os_map(bytes, hk_os_page_size, NULL);
	if (!snapshot)
		return NULL;
	snapshot->bytes = bytes;
	snapshot->names = (char *)snapshot + bytes;
	dl_iterate_phdr(copy, snapshot);
	return snapshot;
}

static int read_unloads(struct dl_phdr_info *info, size_t size, void *context)
{
	unsigned long long *unloads = context;

	(void)size;
	*unloads = info->dlpi_subs;
	return 1;
}

static int find_again(struct dl_phdr_info *info, size_t size, void *context)
{
	struct snapshot *snapshot = context;
	uintptr_t start, end;

	(void)size;
	range_of(info, &start, &end);
	for (size_t i = 0; i < snapshot->count; i++) {
		struct object *object = &snapshot->objects[i];

		if (object->start == start && strcmp(object->name, info->dlpi_name) == 0)
			object->there = true;
	}
	return 0;
}

/* snapshot: NULL if there was no memory for it, and something may have gone unseen. */
static void note_all_gone(struct snapshot *snapshot, uint32_t before)
{
	int kept_errno = errno;

	if (snapshot)
		dl_iterate_phdr(find_again, snapshot);
	hk_lock(&lock);
	if (!snapshot)
		note_reused();
	for (size_t i = 0; snapshot && i < snapshot->count; i++) {
		const struct object *object = &snapshot->objects[i];
		struct gone gone = { .bias = object->bias,
				     .start = object->start,
				     .end = object->end };

		if (object->there)
			continue;
		gone.path = path_of(object->name);
		note_gone(&gone, before);
	}
	atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
	hk_unlock(&lock);
	errno = kept_errno;
}

/*
 * Those who read what the loader may unmap, and those who are in dlclose().  A reader counts
 * itself, then looks for closers; a closer counts itself, then waits for readers: with these
 * in one order (seq_cst), one of the two sees the other.
 */
static _Atomic uint32_t readers, closers;
static _Thread_local uint32_t closing; /* how often this thread is among the closers */

#define READER_WAITS 100 /* of 1 ms */

/*
 * A closer may be in a destructor that waits for the reader.  After so long it is taken for
 * one, and before the destructors have returned nothing is unmapped.
 */
static void begin_reading(void)
{
	for (unsigned i = 0; i < READER_WAITS; i++) {
		uint32_t others;

		atomic_fetch_add(&readers, 1);
		others = atomic_load(&closers);
		if (others == closing)
			return;
		atomic_fetch_sub(&readers, 1);
		hk_os_futex_wait_ms(&closers, others, 1);
	}
	atomic_fetch_add(&readers, 1);
}

static void end_reading(void)
{
	atomic_fetch_sub(&readers, 1);
}

static void begin_closing(void)
{
	uint32_t reading;

	closing++;
	atomic_fetch_add(&closers, 1);
	while ((reading = atomic_load(&readers)) != 0)
		hk_os_futex_wait_ms(&readers, reading, 1);
}

static void end_closing(void)
{
	atomic_fetch_sub(&closers, 1);
	closing--;
}

HK_ENTRY int dlclose(void *handle)
{
	static int (*_Atomic next)(void *);
	int (*real)(void *) = atomic_load_explicit(&next, memory_order_relaxed);
	uint32_t before = hk_modules_generation();
	struct snapshot *snapshot = take_snapshot();
	unsigned long long unloads = 0;
	int result;

	if (!real) {
		real = (int (*)(void *))dlsym(RTLD_NEXT, "dlclose");
		hk_assert(real);
		atomic_store_explicit(&next, real, memory_order_relaxed);
	}
	begin_closing();
	result = real(handle);
	end_closing();
	dl_iterate_phdr(read_unloads, &unloads);
	if (!snapshot || unloads != snapshot->unloads)
		note_all_gone(snapshot, before);
	if (snapshot)
		hk_os_unmap(snapshot, snapshot->bytes);
	return result;
}

void hk_modules_adopt(void)
{
	hk_lock_reset(&lock);
	atomic_store(&readers, 0);
	atomic_store(&closers, closing);
}

/* ---- what a report asks ---- */

static bool find_loaded(uintptr_t address, struct hk_module *module)
{
	struct dl_find_object found;
	bool known;

	begin_reading();
	known = _dl_find_object((void *)address, &found) == 0;
	if (known) {
		module->path = path_of(found.dlfo_link_map->l_name);
		module->bias = found.dlfo_link_map->l_addr;
		module->start = (uintptr_t)found.dlfo_map_start;
		module->end = (uintptr_t)found.dlfo_map_end;
		module->unloaded = false;
	}
	end_reading();
	return known;
}

/* Of all that were there, the first to go from then on; else what is there now. */
bool hk_modules_find(uintptr_t address, uint32_t then, struct hk_module *module)
{
	const struct gone *gone = atomic_load_explicit(&all_gone, memory_order_acquire),
			  *first = NULL;
	uint32_t first_last = UINT32_MAX;

	for (; gone; gone = gone->next) {
		uint32_t last = atomic_load_explicit(&gone->last, memory_order_relaxed);

		if (address < gone->start || address >= gone->end || last < then ||
		    last >= first_last)
			continue;
		first = gone;
		first_last = last;
	}
	if (!first)
		return find_loaded(address, module);
	module->path = first->path;
	module->bias = first->bias;
	module->start = first->start;
	module->end = first->end;
	module->unloaded = true;
	return true;
}

struct dynamic {
	const ElfW(Sym) * symbols;
	const char *strings;
	size_t strings_size;
	const uint32_t *gnu_hash, *hash;
};

/* The loader has made them addresses, but for those of the vDSO, which it cannot write to. */
static const void *address_of(const struct dl_find_object *object, uintptr_t value)
{
	if (value < (uintptr_t)object->dlfo_map_start ||
	    value >= (uintptr_t)object->dlfo_map_end)
		value += object->dlfo_link_map->l_addr;
	return (const void *)value;
}

static struct dynamic read_dynamic(const struct dl_find_object *object)
{
	struct dynamic dynamic = { 0 };

	for (const ElfW(Dyn) *entry = object->dlfo_link_map->l_ld;
	     entry->d_tag != DT_NULL; entry++) {
		const void *address = address_of(object, entry->d_un.d_ptr);

		switch (entry->d_tag) {
		case DT_SYMTAB:
			dynamic.symbols = address;
			break;
		case DT_STRTAB:
			dynamic.strings = address;
			break;
		case DT_STRSZ:
			dynamic.strings_size = entry->d_un.d_val;
			break;
		case DT_GNU_HASH:
			dynamic.gnu_hash = address;
			break;
		case DT_HASH:
			dynamic.hash = address;
			break;
		}
	}
	return dynamic;
}

/* No entry tells how many symbols there are, but the chains of a hash table end there. */
static size_t count_symbols(const struct dynamic *dynamic)
{
	const uint32_t *buckets, *chains;
	uint32_t last = 0, first_hashed;

	if (!dynamic->gnu_hash)
		return dynamic->hash ? dynamic->hash[1] : 0;
	first_hashed = dynamic->gnu_hash[1];
	/* Behind the four numbers, and the Bloom filter's words of 64 bits. */
	buckets = dynamic->gnu_hash + 4 + (size_t)dynamic->gnu_hash[2] * 2;
	chains = buckets + dynamic->gnu_hash[0];
	for (uint32_t i = 0; i < dynamic->gnu_hash[0]; i++)
		if (buckets[i] > last)
			last = buckets[i];
	if (last < first_hashed)
		return first_hashed;
	while (!(chains[last - first_hashed] & 1))
		last++;
	return (size_t)last + 1;
}

static bool is_function(const ElfW(Sym) * symbol)
{
	unsigned type = ELF64_ST_TYPE(symbol->st_info);

	return symbol->st_shndx != SHN_UNDEF && symbol->st_value &&
	       (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE);
}

/* The nearest one before the address that is known to reach it, or tells no size. */
static const ElfW(Sym) * search_symbols(const struct dynamic *dynamic, uintptr_t offset)
{
	const ElfW(Sym) *best = NULL;
	size_t count = count_symbols(dynamic);

	for (size_t i = 1; i < count; i++) {
		const ElfW(Sym) *symbol = &dynamic->symbols[i];

		if (!is_function(symbol) || symbol->st_value > offset ||
		    (symbol->st_size && offset - symbol->st_value >= symbol->st_size))
			continue;
		if (!best || symbol->st_value > best->st_value)
			best = symbol;
	}
	return best && best->st_name < dynamic->strings_size ? best : NULL;
}

bool hk_modules_symbol(uintptr_t address, char *name, size_t size, uintptr_t *distance)
{
	const ElfW(Sym) *symbol = NULL;
	struct dl_find_object object;
	struct dynamic dynamic;
	uintptr_t offset;
	size_t length;

	begin_reading();
	if (_dl_find_object((void *)address, &object) == 0 &&
	    object.dlfo_link_map->l_ld) {
		dynamic = read_dynamic(&object);
		offset = address - object.dlfo_link_map->l_addr;
		if (dynamic.symbols && dynamic.strings)
			symbol = search_symbols(&dynamic, offset);
		if (symbol) {
			length = strnlen(dynamic.strings + symbol->st_name, size - 1);
			memcpy(name, dynamic.strings + symbol->st_name, length);
			name[length] = '\0';
			*distance = offset - symbol->st_value;
		}
	}
	end_reading();
	return symbol != NULL;
}
