/* SPDX-License-Identifier: MIT
 *
 * image.h - what an ELF file says about itself, as far as interposition asks.
 *
 * All reading is libelf's; nothing of the file is run.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum image_malloc {
	IMAGE_MALLOC_NONE,     /* takes malloc from somewhere else, or needs none */
	IMAGE_MALLOC_EXPORTED, /* defined in .dynsym: found before any preloaded library */
	IMAGE_MALLOC_HIDDEN /* defined, but not in .dynsym: its own calls stay inside */
};

struct image {
	unsigned elf_class;   /* ELFCLASS32 or ELFCLASS64 */
	unsigned machine;     /* EM_X86_64, ... */
	bool dynamic;         /* has a dynamic section */
	bool links_hakmem;    /* DT_NEEDED names libhakmem, debug or not */
	bool contains_hakmem; /* has its note, or hakmem_ctl: is the library, or holds it */
	enum image_malloc malloc;
	char version[32];           /* of the libhakmem in it; empty if it does not say */
	char interpreter[PATH_MAX]; /* PT_INTERP; empty if it has none */
};

/* 0, or -1 with errno; ENOEXEC if the file is not ELF or cannot be made sense of. */
int image_read(const char *path, struct image *image);

/*
 * Where libc's calls of malloc go, as offsets from the image's first byte: the word in
 * which the dynamic loader keeps the address, and libc's own malloc.  False if the image
 * does not both define and call it, or is not a 64-bit one: the library has no other form.
 */
bool image_malloc_slot(const char *path, uint64_t *slot, uint64_t *own);

/* "x86-64", "AArch64", ...; "machine N" if it has no name here. */
const char *image_machine_name(unsigned machine, unsigned elf_class);

/* What this command was compiled for. */
unsigned image_machine_native(void);

#endif /* IMAGE_H */
