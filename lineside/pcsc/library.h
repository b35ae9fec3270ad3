// What this package needs of the C interface of libpcsclite, in the layout that its header gives (header_test.go compares).
#ifndef PERSOLINE_PCSC_LIBRARY_H
#define PERSOLINE_PCSC_LIBRARY_H

#include <stddef.h>

#define PCSC_ATR_BYTES 33

typedef struct {
	const char *reader;
	void *user;
	unsigned long known;
	unsigned long now;
	unsigned long atr_length;
	unsigned char atr[PCSC_ATR_BYTES];
} pcsc_state;

typedef struct {
	unsigned long protocol;
	unsigned long length;
} pcsc_pci;

// pcsc_load loads the library once. It gives NULL, or what went wrong; that text lives until the next call of the loader.
const char *pcsc_load(const char *name);

// The calls of the library. pcsc_load must have succeeded.
long pcsc_establish(long *context);
long pcsc_release(long context);
long pcsc_list(long context, char *names, unsigned long *length);
long pcsc_change(long context, unsigned long timeout_ms, pcsc_state *states, unsigned long count);
long pcsc_connect(long context, const char *reader, unsigned long share, unsigned long protocols, long *card, unsigned long *protocol);
long pcsc_reconnect(long card, unsigned long share, unsigned long protocols, unsigned long how, unsigned long *protocol);
long pcsc_disconnect(long card, unsigned long how);
long pcsc_status(long card, unsigned char *atr, unsigned long *atr_length);
long pcsc_transmit(long card, unsigned long protocol, const unsigned char *command, unsigned long command_length,
	unsigned char *answer, unsigned long *answer_length);

#endif
