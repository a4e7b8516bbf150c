(* mirage >= 4.11.0 & < 4.12.0 *)
open Mirage

let packages = [ package "irmin" ~sublibs:[ "mem" ] ~min:"3.11.0" ~max:"3.12.0" ]
let main = main ~packages "Unikernel" job
let () = register "guestbench" [ main ]
