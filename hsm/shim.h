#ifndef PERSOLINE_HSM_SHIM_H
#define PERSOLINE_HSM_SHIM_H

#include <stddef.h>

/* What library.go calls: PKCS#11 functions that take or return secrets, working in memory of the caller's. They allocate
 * nothing, so there is nothing left to clear. Each returns a CK_RV; *op says which function gave it (SHIM_OP_...). */

enum { SHIM_OP_INIT = 0, SHIM_OP_USE = 1 };

typedef struct shim_list shim_list;

/* shim_open loads the library and gives its function list, NULL if it is no PKCS#11 module. */
shim_list *shim_open(const char *path, void **handle);
void shim_close(void *handle);

unsigned long shim_login(shim_list *f, unsigned long session, unsigned long user, unsigned char *pin, size_t pin_len);
unsigned long shim_create(shim_list *f, unsigned long session, void *attributes, size_t count, unsigned long *object);
unsigned long shim_random(shim_list *f, unsigned long session, unsigned char *out, size_t len);
unsigned long shim_sign(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                        unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op);
unsigned long shim_encrypt(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                           unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op);
unsigned long shim_decrypt(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                           unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op);
unsigned long shim_wrap(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long wrapping,
                        unsigned long key, unsigned char *out, size_t *out_len);
/* The nonce is written back: some modules put in one of their own. */
unsigned long shim_gcm(shim_list *f, int decrypt, unsigned long session, unsigned long key, unsigned char *nonce,
                       size_t nonce_len, unsigned char *aad, size_t aad_len, unsigned long tag_bits,
                       unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op);

#endif
