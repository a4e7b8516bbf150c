(* mirage >= 4.11.0 & < 4.12.0 *)
open Mirage

(* The guest's place in QEMU's user network, which holds without a DHCP server: configured with --no-dhcp. *)
let ipv4_network = Ipaddr.V4.Prefix.of_string_exn "10.0.2.15/24"
let ipv4_gateway = Ipaddr.V4.of_string_exn "10.0.2.2"
let stack = generic_stackv4v6 ~ipv4_network ~ipv4_gateway default_network
let main = main "Unikernel.Main" (stackv4v6 @-> job)
let () = register "guestbench-net" [ main $ stack ]
