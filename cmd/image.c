/* SPDX-License-Identifier: MIT
 *
 * image.c - what an ELF file says about itself, as far as interposition asks.
 */
#define _GNU_SOURCE
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct file {
	int fd;
	Elf *elf;
};

static int open_file(struct file *file, const char *path)
{
	int saved;

	elf_version(EV_CURRENT);
	file->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0)
		return -1;
	file->elf = elf_begin(file->fd, ELF_C_READ, NULL);
	if (file->elf && elf_kind(file->elf) == ELF_K_ELF)
		return 0;
	saved = errno == EISDIR ? EISDIR : ENOEXEC;
	elf_end(file->elf);
	close(file->fd);
	errno = saved;
	return -1;
}

static void close_file(struct file *file)
{
	elf_end(file->elf);
	close(file->fd);
}

static bool is_function(const GElf_Sym *symbol)
{
	unsigned type = GELF_ST_TYPE(symbol->st_info);

	return symbol->st_shndx != SHN_UNDEF &&
	       (type == STT_FUNC || type == STT_GNU_IFUNC);
}

static void read_symbols(Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
			 struct image *image)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;

	if (!data || !header->sh_entsize)
		return;
	for (size_t i = 0; i < header->sh_size / header->sh_entsize; i++) {
		const char *name;

		if (!gelf_getsym(data, (int)i, &symbol) || !is_function(&symbol))
			continue;
		name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name)
			continue;
		if (!strcmp(name, "hakmem_ctl"))
			image->contains_hakmem = true;
		if (strcmp(name, "malloc"))
			continue;
		if (header->sh_type == SHT_DYNSYM)
			image->malloc = IMAGE_MALLOC_EXPORTED;
		else if (image->malloc == IMAGE_MALLOC_NONE)
			image->malloc = IMAGE_MALLOC_HIDDEN;
	}
}

static void read_dynamic(Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
			 struct image *image)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Dyn entry;

	if (!data || !header->sh_entsize)
		return;
	for (size_t i = 0; i < header->sh_size / header->sh_entsize; i++) {
		const char *name;

		if (!gelf_getdyn(data, (int)i, &entry) || entry.d_tag != DT_NEEDED)
			continue;
		name = elf_strptr(elf, header->sh_link, entry.d_un.d_val);
		if (name && !strncmp(name, "libhakmem", 9))
			image->links_hakmem = true;
	}
}

static void read_sections(Elf *elf, struct image *image)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while ((section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, &header))
			continue;
		if (header.sh_type == SHT_DYNSYM || header.sh_type == SHT_SYMTAB)
			read_symbols(elf, section, &header, image);
		else if (header.sh_type == SHT_DYNAMIC)
			read_dynamic(elf, section, &header, image);
	}
}

/* The library states its version in an ELF note of the owner "hakmem", type 1. */
static void read_notes(Elf *elf, const GElf_Phdr *segment, struct image *image)
{
	Elf_Type type = segment->p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
	Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)segment->p_offset,
					      segment->p_filesz, type);
	size_t offset = 0, name, description;
	GElf_Nhdr note;

	while (data &&
	       (offset = gelf_getnote(data, offset, &note, &name, &description))) {
		const char *text = data->d_buf;

		if (note.n_type != 1 || note.n_namesz != sizeof("hakmem") ||
		    memcmp(text + name, "hakmem", sizeof("hakmem")))
			continue;
		snprintf(image->version, sizeof(image->version), "%.*s",
			 (int)note.n_descsz, text + description);
		image->contains_hakmem = true;
	}
}

static void read_interpreter(Elf *elf, const GElf_Phdr *segment, struct image *image)
{
	Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)segment->p_offset,
					      segment->p_filesz, ELF_T_BYTE);

	if (data && data->d_size && data->d_size < sizeof(image->interpreter))
		memcpy(image->interpreter, data->d_buf, data->d_size);
}

int image_read(const char *path, struct image *image)
{
	struct file file;
	GElf_Ehdr header;
	GElf_Phdr segment;
	size_t segments;

	memset(image, 0, sizeof(*image));
	if (open_file(&file, path))
		return -1;
	if (!gelf_getehdr(file.elf, &header) || elf_getphdrnum(file.elf, &segments) ||
	    (header.e_type != ET_EXEC && header.e_type != ET_DYN)) {
		close_file(&file);
		errno = ENOEXEC;
		return -1;
	}
	image->elf_class = header.e_ident[EI_CLASS];
	image->machine = header.e_machine;
	for (size_t i = 0; i < segments; i++) {
		if (!gelf_getphdr(file.elf, (int)i, &segment))
			continue;
		if (segment.p_type == PT_DYNAMIC)
			image->dynamic = true;
		else if (segment.p_type == PT_INTERP)
			read_interpreter(file.elf, &segment, image);
		else if (segment.p_type == PT_NOTE)
			read_notes(file.elf, &segment, image);
	}
	read_sections(file.elf, image);
	close_file(&file);
	return 0;
}

/* Is symbol index of these relocations a malloc defined here; and where? */
static bool is_malloc(Elf *elf, const GElf_Shdr *relocations, size_t index, uint64_t *own)
{
	Elf_Scn *section = elf_getscn(elf, relocations->sh_link);
	Elf_Data *data = section ? elf_getdata(section, NULL) : NULL;
	GElf_Shdr header;
	GElf_Sym symbol;
	const char *name;

	if (!data || !gelf_getshdr(section, &header) ||
	    !gelf_getsym(data, (int)index, &symbol))
		return false;
	*own = symbol.st_value;
	name = is_function(&symbol) ? elf_strptr(elf, header.sh_link, symbol.st_name)
				    : NULL;
	return name && !strcmp(name, "malloc");
}

static bool find_slot(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, uint64_t *slot,
		      uint64_t *own)
{
	Elf_Data *data = elf_getdata(section, NULL);

	if (!data || !header->sh_entsize)
		return false;
	for (size_t i = 0; i < header->sh_size / header->sh_entsize; i++) {
		GElf_Rela rela;
		GElf_Rel rel;
		size_t symbol;

		if (header->sh_type == SHT_RELA) {
			if (!gelf_getrela(data, (int)i, &rela))
				continue;
			symbol = GELF_R_SYM(rela.r_info);
			*slot = rela.r_offset;
		} else {
			if (!gelf_getrel(data, (int)i, &rel))
				continue;
			symbol = GELF_R_SYM(rel.r_info);
			*slot = rel.r_offset;
		}
		if (symbol && is_malloc(elf, header, symbol, own))
			return true;
	}
	return false;
}

static uint64_t lowest_address(Elf *elf)
{
	uint64_t lowest = UINT64_MAX;
	GElf_Phdr segment;
	size_t segments;

	if (elf_getphdrnum(elf, &segments))
		return 0;
	for (size_t i = 0; i < segments; i++) {
		if (gelf_getphdr(elf, (int)i, &segment) && segment.p_type == PT_LOAD &&
		    segment.p_vaddr - segment.p_offset < lowest)
			lowest = segment.p_vaddr - segment.p_offset;
	}
	return lowest;
}

bool image_malloc_slot(const char *path, uint64_t *slot, uint64_t *own)
{
	struct file file;
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	bool found = false;

	if (open_file(&file, path))
		return false;
	while (!found && gelf_getclass(file.elf) == ELFCLASS64 &&
	       (section = elf_nextscn(file.elf, section))) {
		if (gelf_getshdr(section, &header) &&
		    (header.sh_type == SHT_RELA || header.sh_type == SHT_REL))
			found = find_slot(file.elf, section, &header, slot, own);
	}
	if (found) {
		*slot -= lowest_address(file.elf);
		*own -= lowest_address(file.elf);
	}
	close_file(&file);
	return found;
}

const char *image_machine_name(unsigned machine, unsigned elf_class)
{
	static char other[32];

	switch (machine) {
	case EM_X86_64:
		return elf_class == ELFCLASS32 ? "x32" : "x86-64";
	case EM_386:
		return "i386";
	case EM_AARCH64:
		return "AArch64";
	case EM_ARM:
		return "ARM";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "ppc64";
	case EM_S390:
		return "s390x";
	case EM_MIPS:
		return "MIPS";
	case EM_LOONGARCH:
		return "LoongArch";
	default:
		snprintf(other, sizeof(other), "machine %u", machine);
		return other;
	}
}

unsigned image_machine_native(void)
{
	static struct image self;

	if (!self.machine && image_read("/proc/self/exe", &self))
		self.machine = EM_NONE;
	return self.machine;
}
