/* Linked into a static program in place of glibc's function of this name (`--wrap`, see deploy/flags.sh).

   /etc/nsswitch.conf may name modules beside `files` and `dns`, which are built in: `myhostname`, `mdns4_minimal`,
   `resolve`. A static program would load them, and with them the machine's C library. If that one is of another version,
   the program dies at the first look-up. A module that cannot be loaded is passed over. */
void *__wrap___libc_dlopen_mode(const char *name, int mode) {
  (void)name;
  (void)mode;
  return 0;
}
