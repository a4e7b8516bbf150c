(* TCP's simplest services: echo (RFC 862), discard (RFC 863) and chargen (RFC 864). *)

open Lwt.Infix

let line_letters = 72
let first_letter = ' '
let letters = 95

(* All lines that chargen sends before it begins anew: each one begins a letter further. *)
let pattern =
  let letter number = Char.chr (Char.code first_letter + (number mod letters)) in
  let line number = String.init line_letters (fun column -> letter (number + column)) ^ "\r\n" in
  Cstruct.of_string (String.concat "" (List.init letters line))

module Make (Tcp : Tcpip.Tcp.S) = struct
  let rec echo flow =
    Tcp.read flow >>= function
    | Ok (`Data data) -> ( Tcp.write flow data >>= function Ok () -> echo flow | Error _ -> Tcp.close flow)
    | Ok `Eof | Error _ -> Tcp.close flow

  let rec discard flow =
    Tcp.read flow >>= function Ok (`Data _) -> discard flow | Ok `Eof | Error _ -> Tcp.close flow

  let rec generate flow =
    Tcp.write flow pattern >>= function Ok () -> generate flow | Error _ -> Tcp.close flow

  let listen tcp =
    Tcp.listen tcp ~port:7 echo;
    Tcp.listen tcp ~port:9 discard;
    Tcp.listen tcp ~port:19 generate
end
