#include "library.h"

#include <dlfcn.h>

static struct {
	long (*establish)(unsigned long, const void *, const void *, long *);
	long (*release)(long);
	long (*list)(long, const char *, char *, unsigned long *);
	long (*change)(long, unsigned long, pcsc_state *, unsigned long);
	long (*connect)(long, const char *, unsigned long, unsigned long, long *, unsigned long *);
	long (*reconnect)(long, unsigned long, unsigned long, unsigned long, unsigned long *);
	long (*disconnect)(long, unsigned long);
	long (*status)(long, char *, unsigned long *, unsigned long *, unsigned long *, unsigned char *, unsigned long *);
	long (*transmit)(long, const pcsc_pci *, const unsigned char *, unsigned long, pcsc_pci *, unsigned char *, unsigned long *);
} api;

static const char *missing(void *library)
{
	static const struct {
		const char *name;
		void **place;
	} calls[] = {
		{"SCardEstablishContext", (void **)&api.establish}, {"SCardReleaseContext", (void **)&api.release},
		{"SCardListReaders", (void **)&api.list}, {"SCardGetStatusChange", (void **)&api.change},
		{"SCardConnect", (void **)&api.connect}, {"SCardReconnect", (void **)&api.reconnect},
		{"SCardDisconnect", (void **)&api.disconnect}, {"SCardStatus", (void **)&api.status},
		{"SCardTransmit", (void **)&api.transmit},
	};
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		*calls[i].place = dlsym(library, calls[i].name);
		if (!*calls[i].place)
			return dlerror();
	}
	return NULL;
}

const char *pcsc_load(const char *name)
{
	void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return dlerror();
	return missing(library);
}

long pcsc_establish(long *context)
{
	const unsigned long system_scope = 2;
	return api.establish(system_scope, NULL, NULL, context);
}

long pcsc_release(long context) { return api.release(context); }

long pcsc_list(long context, char *names, unsigned long *length) { return api.list(context, NULL, names, length); }

long pcsc_change(long context, unsigned long timeout_ms, pcsc_state *states, unsigned long count)
{
	return api.change(context, timeout_ms, states, count);
}

long pcsc_connect(long context, const char *reader, unsigned long share, unsigned long protocols, long *card, unsigned long *protocol)
{
	return api.connect(context, reader, share, protocols, card, protocol);
}

long pcsc_reconnect(long card, unsigned long share, unsigned long protocols, unsigned long how, unsigned long *protocol)
{
	return api.reconnect(card, share, protocols, how, protocol);
}

long pcsc_disconnect(long card, unsigned long how) { return api.disconnect(card, how); }

long pcsc_status(long card, unsigned char *atr, unsigned long *atr_length)
{
	unsigned long state = 0, protocol = 0;
	return api.status(card, NULL, NULL, &state, &protocol, atr, atr_length);
}

long pcsc_transmit(long card, unsigned long protocol, const unsigned char *command, unsigned long command_length,
	unsigned char *answer, unsigned long *answer_length)
{
	pcsc_pci pci = {protocol, sizeof pci};
	return api.transmit(card, &pci, command, command_length, NULL, answer, answer_length);
}
