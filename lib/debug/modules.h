/* SPDX-License-Identifier: MIT
 *
 * modules.h - which object (program, library, vDSO) a program counter lies in, also when the
 * object has been unloaded since.
 *
 * The generation of the map is one more each time that an object was unloaded (dlclose() is
 * interposed for that); the objects loaded before are remembered with their paths, address
 * ranges and the generation in which they were last there.
 */
#ifndef HK_MODULES_H
#define HK_MODULES_H

#include "base.h"

struct hk_module {
	const char *path; /* never freed; the program's own is its absolute path */
	uintptr_t bias;   /* what to take off an address for addr2line */
	uintptr_t start, end;
	bool unloaded;
};

/* The map's generation now: one relaxed load. */
uint32_t hk_modules_generation(void);

/*
 * The last generation from which on code may stand where other code stood before; 0: never.  The
 * ranges of unloaded objects are held for libunwind's sake, whose caches outlive them.  But when
 * several threads map memory, one of them may be faster, and not all can be held.
 */
uint32_t hk_modules_reused(void);

/* Where this address lay in that generation; false: in no object that is known. */
bool hk_modules_find(uintptr_t address, uint32_t generation, struct hk_module *module);

/*
 * The exported function of a loaded object in which this address lies: its name, cut to size,
 * and the distance from its start; false: none.
 */
bool hk_modules_symbol(uintptr_t address, char *name, size_t size, uintptr_t *distance);

/* In the child of fork(): what other threads were at, they are gone. */
void hk_modules_adopt(void);

#endif /* HK_MODULES_H */
