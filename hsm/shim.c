#include "shim.h"

#include <dlfcn.h>
#include <string.h>

/* The binding (miekg/pkcs11) has the rest of PKCS#11. It copies arguments and results through memory that it frees without
 * clearing, and does not lend its function list, so this file looks the list up again. Layouts: PKCS #11 v2.40, base
 * specification, sections 3 and 5 (Unix: not packed), and current mechanisms, 2.12.2 (CK_GCM_PARAMS). */

typedef unsigned long ulong_t;
typedef void (*any_fn)(void);

typedef struct {
  ulong_t mechanism;
  void *parameter;
  ulong_t parameter_len;
} mechanism_t;

typedef struct {
  unsigned char *iv;
  ulong_t iv_len;
  ulong_t iv_bits;
  unsigned char *aad;
  ulong_t aad_len;
  ulong_t tag_bits;
} gcm_t;

typedef ulong_t (*init_fn)(ulong_t session, mechanism_t *m, ulong_t key);
typedef ulong_t (*use_fn)(ulong_t session, unsigned char *in, ulong_t in_len, unsigned char *out, ulong_t *out_len);

/* CK_FUNCTION_LIST as far as C_GenerateRandom; what is not called here keeps its place only. */
struct shim_list {
  unsigned char major, minor;
  any_fn head[18]; /* C_Initialize .. C_SetOperationState */
  ulong_t (*login)(ulong_t session, ulong_t user, unsigned char *pin, ulong_t pin_len);
  any_fn logout;
  ulong_t (*create_object)(ulong_t session, void *attributes, ulong_t count, ulong_t *object);
  any_fn objects[8]; /* C_CopyObject .. C_FindObjectsFinal */
  init_fn encrypt_init;
  use_fn encrypt;
  any_fn encrypt_parts[2]; /* C_EncryptUpdate, C_EncryptFinal */
  init_fn decrypt_init;
  use_fn decrypt;
  any_fn digests[7]; /* C_DecryptUpdate .. C_DigestFinal */
  init_fn sign_init;
  use_fn sign;
  any_fn signs[16]; /* C_SignUpdate .. C_GenerateKeyPair */
  ulong_t (*wrap_key)(ulong_t session, mechanism_t *m, ulong_t wrapping, ulong_t key, unsigned char *out, ulong_t *out_len);
  any_fn keys[3]; /* C_UnwrapKey .. C_SeedRandom */
  ulong_t (*generate_random)(ulong_t session, unsigned char *out, ulong_t len);
};

_Static_assert(offsetof(struct shim_list, login) == sizeof(any_fn) * (1 + 18), "C_Login is function 18");
_Static_assert(offsetof(struct shim_list, create_object) == sizeof(any_fn) * (1 + 20), "C_CreateObject is function 20");
_Static_assert(offsetof(struct shim_list, encrypt) == sizeof(any_fn) * (1 + 30), "C_Encrypt is function 30");
_Static_assert(offsetof(struct shim_list, decrypt) == sizeof(any_fn) * (1 + 34), "C_Decrypt is function 34");
_Static_assert(offsetof(struct shim_list, sign) == sizeof(any_fn) * (1 + 43), "C_Sign is function 43");
_Static_assert(offsetof(struct shim_list, wrap_key) == sizeof(any_fn) * (1 + 60), "C_WrapKey is function 60");
_Static_assert(offsetof(struct shim_list, generate_random) == sizeof(any_fn) * (1 + 64), "C_GenerateRandom is function 64");

shim_list *shim_open(const char *path, void **handle) {
  shim_list *list = NULL;
  ulong_t (*get)(shim_list **);
  *handle = dlopen(path, RTLD_LAZY);
  if (*handle == NULL) {
    return NULL;
  }
  get = (ulong_t(*)(shim_list **))dlsym(*handle, "C_GetFunctionList");
  if (get == NULL || get(&list) != 0 || list == NULL) {
    dlclose(*handle);
    *handle = NULL;
    return NULL;
  }
  return list;
}

void shim_close(void *handle) { dlclose(handle); }

/* scrub_bytes is deeper than the modules that we know go below a call of theirs. */
enum { scrub_bytes = 32 * 1024 };

/* scrub overwrites the stack below its caller: the frames that a module left there hold pieces of what it computed. */
static __attribute__((noinline)) void scrub(void) {
  unsigned char frame[scrub_bytes];
  memset(frame, 0, sizeof frame);
  __asm__ __volatile__("" : : "r"(frame) : "memory"); /* keeps the memset */
}

unsigned long shim_login(shim_list *f, unsigned long session, unsigned long user, unsigned char *pin, size_t pin_len) {
  ulong_t rv = f->login(session, user, pin, pin_len);
  scrub();
  return rv;
}

unsigned long shim_create(shim_list *f, unsigned long session, void *attributes, size_t count, unsigned long *object) {
  ulong_t rv = f->create_object(session, attributes, count, object);
  scrub();
  return rv;
}

unsigned long shim_random(shim_list *f, unsigned long session, unsigned char *out, size_t len) {
  ulong_t rv = f->generate_random(session, out, len);
  scrub();
  return rv;
}

static ulong_t run(init_fn init, use_fn use, ulong_t session, mechanism_t *m, ulong_t key, unsigned char *in,
                   size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  ulong_t len = *out_len, rv;
  *op = SHIM_OP_INIT;
  rv = init(session, m, key);
  if (rv == 0) {
    *op = SHIM_OP_USE;
    rv = use(session, in, in_len, out, &len);
    *out_len = len;
  }
  scrub();
  return rv;
}

unsigned long shim_sign(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                        unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  mechanism_t m = {mechanism, NULL, 0};
  return run(f->sign_init, f->sign, session, &m, key, in, in_len, out, out_len, op);
}

unsigned long shim_encrypt(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                           unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  mechanism_t m = {mechanism, NULL, 0};
  return run(f->encrypt_init, f->encrypt, session, &m, key, in, in_len, out, out_len, op);
}

unsigned long shim_decrypt(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                           unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  mechanism_t m = {mechanism, NULL, 0};
  return run(f->decrypt_init, f->decrypt, session, &m, key, in, in_len, out, out_len, op);
}

unsigned long shim_gcm(shim_list *f, int decrypt, unsigned long session, unsigned long key, unsigned char *nonce,
                       size_t nonce_len, unsigned char *aad, size_t aad_len, unsigned long tag_bits,
                       unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  const ulong_t aes_gcm = 0x1087;
  gcm_t p = {nonce, nonce_len, nonce_len * 8, aad, aad_len, tag_bits};
  mechanism_t m = {aes_gcm, &p, sizeof p};
  if (decrypt) {
    return run(f->decrypt_init, f->decrypt, session, &m, key, in, in_len, out, out_len, op);
  }
  return run(f->encrypt_init, f->encrypt, session, &m, key, in, in_len, out, out_len, op);
}

unsigned long shim_wrap(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long wrapping,
                        unsigned long key, unsigned char *out, size_t *out_len) {
  mechanism_t m = {mechanism, NULL, 0};
  ulong_t len = *out_len, rv = f->wrap_key(session, &m, wrapping, key, out, &len);
  *out_len = len;
  scrub();
  return rv;
}
