"""A proxy-wasm module for tests, in text form: what it does with a request is said by the request's `x-do` field."""

from __future__ import annotations

import wasmtime

# Strings of the module's memory, by place.
_STRINGS = {
    100: "x-do", 110: "x-wasm", 120: "x-prop", 130: "x-call", 140: "content-length", 160: "x-wasm-response", 180: "yes",
    200: "denied", 210: "no entry", 230: "side", 240: "request\\00path", 260: "changed", 280: "wasm_hits", 300: "my_key",
    320: "kept", 330: "plugin_name", 350: "x-name", 360: "x-own", 370: "hello log",
    # Pairs of the call's headers: :method GET, :path /call, :authority side.
    400: "\\03\\00\\00\\00\\07\\00\\00\\00\\03\\00\\00\\00\\05\\00\\00\\00\\05\\00\\00\\00\\0a\\00\\00\\00\\04\\00\\00\\00"
    ":method\\00GET\\00:path\\00/call\\00:authority\\00side\\00",
}  # fmt: skip
_CALL_SIZE = 4 + 24 + 8 + 4 + 6 + 6 + 11 + 5

_TEXT = """(module
 (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
 (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
 (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_get_buffer_bytes" (func $bytes (param i32 i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_set_buffer_bytes" (func $set_bytes (param i32 i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_send_local_response" (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
 (import "env" "proxy_set_effective_context" (func $become (param i32) (result i32)))
 (import "env" "proxy_define_metric" (func $metric (param i32 i32 i32 i32) (result i32)))
 (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
 (memory (export "memory") 2)
 (global $next (mut i32) (i32.const 16384))
 (global $hits (mut i32) (i32.const 0))
 %s
 (func (export "proxy_abi_version_0_2_1"))
 (func (export "_initialize"))
 (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) (local $at i32)
  (local.set $at (global.get $next))
  (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
  (if (i32.gt_u (global.get $next) (i32.const 100000)) (then (global.set $next (i32.const 32768)) (local.set $at (i32.const 32768))))
  (local.get $at))
 (func $parent (param $context i32) (result i32)
  (i32.add (i32.const 10240) (i32.mul (i32.and (local.get $context) (i32.const 255)) (i32.const 4))))
 (func $config (param $root i32) (result i32)
  (i32.add (i32.const 12288) (i32.mul (i32.and (local.get $root) (i32.const 255)) (i32.const 8))))
 (func $caller (param $token i32) (result i32)
  (i32.add (i32.const 14336) (i32.mul (i32.and (local.get $token) (i32.const 255)) (i32.const 4))))
 (func (export "proxy_on_context_create") (param $context i32) (param $root i32)
  (i32.store (call $parent (local.get $context)) (local.get $root)))
 (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
  (drop (call $metric (i32.const 0) (i32.const 280) (i32.const 9) (i32.const 16)))
  (global.set $hits (i32.load (i32.const 16)))
  (i32.const 1))
 (func (export "proxy_on_configure") (param $root i32) (param $size i32) (result i32)
  (drop (call $bytes (i32.const 7) (i32.const 0) (local.get $size) (call $config (local.get $root)) (i32.add (call $config (local.get $root)) (i32.const 4))))
  ;; A configuration that begins with "!" is refused.
  (if (local.get $size) (then (if (i32.eq (i32.load8_u (i32.load (call $config (local.get $root)))) (i32.const 33)) (then (return (i32.const 0))))))
  (i32.const 1))
 (func $slot (param $context i32) (result i32)
  (i32.add (i32.const 8192) (i32.mul (i32.and (local.get $context) (i32.const 255)) (i32.const 4))))
 (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32) (local $what i32) (local $at i32)
  (drop (call $increment (global.get $hits) (i64.const 1)))
  (i32.store (call $slot (local.get $context)) (i32.const 0))
  (if (i32.ne (call $get (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 32) (i32.const 36)) (i32.const 0)) (then (return (i32.const 0))))
  (local.set $what (i32.load8_u (i32.load (i32.const 32))))
  (i32.store (call $slot (local.get $context)) (local.get $what))
  ;; a: add the plugin's configuration
  (if (i32.eq (local.get $what) (i32.const 97)) (then
   (local.set $at (call $config (i32.load (call $parent (local.get $context)))))
   (drop (call $add (i32.const 0) (i32.const 110) (i32.const 6) (i32.load (local.get $at)) (i32.load (i32.add (local.get $at) (i32.const 4)))))))
  ;; g: properties
  (if (i32.eq (local.get $what) (i32.const 103)) (then
   (drop (call $property (i32.const 240) (i32.const 12) (i32.const 20) (i32.const 24)))
   (drop (call $add (i32.const 0) (i32.const 120) (i32.const 6) (i32.load (i32.const 20)) (i32.load (i32.const 24))))
   (drop (call $property (i32.const 330) (i32.const 11) (i32.const 20) (i32.const 24)))
   (drop (call $add (i32.const 0) (i32.const 350) (i32.const 6) (i32.load (i32.const 20)) (i32.load (i32.const 24))))
   (drop (call $set_property (i32.const 300) (i32.const 6) (i32.const 320) (i32.const 4)))
   (drop (call $property (i32.const 300) (i32.const 6) (i32.const 20) (i32.const 24)))
   (drop (call $add (i32.const 0) (i32.const 360) (i32.const 5) (i32.load (i32.const 20)) (i32.load (i32.const 24))))))
  ;; r: respond
  (if (i32.eq (local.get $what) (i32.const 114)) (then
   (drop (call $respond (i32.const 403) (i32.const 200) (i32.const 6) (i32.const 210) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const -1)))
   (return (i32.const 1))))
  ;; c: call
  (if (i32.eq (local.get $what) (i32.const 99)) (then
   (if (call $call (i32.const 230) (i32.const 4) (i32.const 400) (i32.const CALL_SIZE) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 40)) (then (unreachable)))
   ;; Whose call it is, by its token.
   (i32.store (call $caller (i32.load (i32.const 40))) (local.get $context))
   (return (i32.const 1))))
  ;; t: trap
  (if (i32.eq (local.get $what) (i32.const 116)) (then (unreachable)))
  ;; b: the body will be another
  (if (i32.eq (local.get $what) (i32.const 98)) (then
   (drop (call $remove (i32.const 0) (i32.const 140) (i32.const 14)))))
  ;; l: log
  (if (i32.eq (local.get $what) (i32.const 108)) (then (drop (call $log (i32.const 3) (i32.const 370) (i32.const 9)))))
  (i32.const 0))
 (func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
  (if (i32.eq (i32.load (call $slot (local.get $context))) (i32.const 98)) (then
   (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
   (drop (call $set_bytes (i32.const 0) (i32.const 0) (local.get $size) (i32.const 260) (i32.const 7)))))
  (i32.const 0))
 (func (export "proxy_on_response_headers") (param $context i32) (param i32 i32) (result i32)
  (drop (call $add (i32.const 2) (i32.const 160) (i32.const 15) (i32.const 180) (i32.const 3)))
  (i32.const 0))
 (func (export "proxy_on_new_connection") (param $context i32) (result i32)
  (drop (call $increment (global.get $hits) (i64.const 1)))
  (i32.const 0))
 ;; Bytes that begin with X become others; those that begin with H wait until there are four.
 (func (export "proxy_on_downstream_data") (param $context i32) (param $size i32) (param $end i32) (result i32) (local $first i32)
  (if (i32.eqz (local.get $size)) (then (return (i32.const 0))))
  (drop (call $bytes (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 20) (i32.const 24)))
  (local.set $first (i32.load8_u (i32.load (i32.const 20))))
  (if (i32.eq (local.get $first) (i32.const 88)) (then
   (drop (call $set_bytes (i32.const 2) (i32.const 0) (local.get $size) (i32.const 260) (i32.const 7)))))
  (i32.and (i32.eq (local.get $first) (i32.const 72)) (i32.lt_u (local.get $size) (i32.const 4))))
 (func (export "proxy_on_http_call_response") (param $context i32) (param $token i32) (param $headers i32) (param $size i32) (param i32)
  (drop (call $become (i32.load (call $caller (local.get $token)))))
  (drop (call $bytes (i32.const 4) (i32.const 0) (local.get $size) (i32.const 20) (i32.const 24)))
  (drop (call $add (i32.const 0) (i32.const 130) (i32.const 6) (i32.load (i32.const 20)) (i32.load (i32.const 24))))
  (drop (call $continue (i32.const 0))))
)"""


def wasm_module() -> bytes:
    data = "\n ".join(f'(data (i32.const {place}) "{text}")' for place, text in _STRINGS.items())
    return bytes(wasmtime.wat2wasm((_TEXT % data).replace("CALL_SIZE", str(_CALL_SIZE))))
